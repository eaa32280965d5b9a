"""Random fields and filters that often meet: few names, few values, and the odd ones among them."""

from __future__ import annotations

from hypothesis import strategies as st

from qianru.index.filter import Filter, field

NAMES = ["path", "year", "语言", "a.b", 'q"uo`te', "not", "x-1", "[0]", " "]
TEXTS = ["", "a", "ab", "民法典/", "民法典/第一编", "2024-01-31", "2024-02-01",
         "true", "1", 'say "hi"\\', "\x00\n", "𠮷", "\U0010ffff"]
WHOLE = [0, 1, -1, 2020, 2021, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)]
BROKEN = [0.0, -0.0, 0.1, 0.1 + 2**-55, 1.0, 2020.5, 1e-300, 5e-324, 1e300, float(2**53), float(2**63), -1e22]

texts = st.one_of(st.sampled_from(TEXTS), st.text(st.characters(exclude_categories=["Cs"]), max_size=4))
wholes = st.one_of(st.sampled_from(WHOLE), st.integers(-(2**63), 2**63 - 1))
floats = st.one_of(st.sampled_from(BROKEN), st.floats(allow_nan=False, allow_infinity=False))
numbers = st.one_of(wholes, floats)
scalars = st.one_of(texts, numbers, st.booleans())
names = st.sampled_from(NAMES)
fields = st.dictionaries(names, st.one_of(scalars, st.lists(scalars, max_size=3)), max_size=4)

orders = st.sampled_from(["__lt__", "__le__", "__gt__", "__ge__"])
conditions = st.one_of(
    st.builds(lambda name, value: field(name) == value, names, scalars),
    st.builds(lambda name, value: field(name) != value, names, scalars),
    st.builds(lambda name, values: field(name).isin(values), names, st.lists(scalars, max_size=3)),
    st.builds(lambda name, prefix: field(name).startswith(prefix), names, texts),
    st.builds(lambda name, order, bound: getattr(field(name), order)(bound), names, orders, st.one_of(texts, numbers)),
)
filters: st.SearchStrategy[Filter] = st.recursive(
    conditions,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a & b, inner, inner),
        st.builds(lambda a, b: a | b, inner, inner),
        st.builds(lambda a: ~a, inner),
    ),
    max_leaves=6,
)
