"""Learning from texts alone: hidden tokens, and whole texts from one vector.

    masking.py     texts -> rows with whole words hidden
    heads.py       what guesses tokens from states: BERT's head, RetroMAE's one-layer decoder
    candidates.py  the words that a token is guessed among, where all of them would take too long
    stage.py       all of it as a stage of the loop: "mlm", "retromae", "dupmae"
    create.py      a model from nothing: a shape, a vocabulary, weights drawn at random
"""
