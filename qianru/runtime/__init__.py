"""How texts become batches, whatever the model: options, packing, precision, device, the one loop.

    options.py     Runtime: how to run, as the user says it; Device: what this machine makes of it
    packing.py     rows of token ids -> batches cut by real tokens -> Packed: tokens end to end, no padding
    attention.py   attention within each text of a Packed
    linear.py      matrix products with weights laid out for the processor
    product.py     the same with gradients, for training
    loop.py        rows -> Outputs in the order of the rows; halves the batch when memory runs out

Nothing here knows a model family. packing, attention, linear and loop import torch; options does not.
"""
