"""What is minimised. A loss takes scores and says what they should be; it knows nothing of embeddings or models.

    contrastive.py    the right document among its candidates: InfoNCE, false negatives hidden
    scored.py         pairs with a degree of likeness: CoSENT
    distillation.py   a teacher's scores or vectors
    three_heads.py    BGE-M3's dense, sparse and multi scores together, teaching themselves
    nested.py         Matryoshka: any of them on the first dimensions as well

Scores are similarities, larger is better. A candidate that must not count has the score -inf.
"""
