"""One HTTP server for every client: OpenAI, TEI, Cohere and Jina, ModelScope, collections, and a page to look at it.

    options.py     what the server may be asked for (Limits), where it listens
    lanes.py       what a model does with the texts of many requests at once
    line.py        the jobs that wait, in bounded number, and whose turn it is
    worker.py      the one thread that computes: takes from the line, gives each job its part
    models.py      the models by their names
    bodies.py      what a body is made of, counted before it is read
    asking.py      from a request to its vectors or scores: read, wait, time limits, clients that leave
    server.py      what all routes share
    guard.py       before every route: keys, sizes, origins; after it: metrics and a line in the log
    app.py         the application; run.py: the process
    bounds.py      how much of everything a request may ask for
    shelf.py       the collections by their names;  desk.py: the one thread that is inside each

Routes, one file a dialect: openai.py, tei.py, cohere.py, modelscope.py, own.py, collections.py.
Nothing but load.py, options.py, keys.py and run.py may be imported without the extra "serve".
"""
