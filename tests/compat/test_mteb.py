"""mteb runs our models by its own protocols, and our search finds what its own finds."""

from __future__ import annotations

import gzip
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import qianru
from qianru.errors import BadInput, MissingExtra
from qianru.models.base import Model
from qianru.models.bm25 import BM25

HERE = find_spec("mteb") is not None
pytestmark = [
    pytest.mark.mteb,
    pytest.mark.filterwarnings("default"),      # mteb and what it brings warn of much
]
needs_mteb = pytest.mark.skipif(not HERE, reason="mteb is not installed here; CONTRIBUTING.md says how to run these")
TYPES = ("BitextMining", "Classification", "Clustering", "PairClassification", "Reranking", "Retrieval", "STS")


@pytest.mark.skipif(HERE, reason="mteb is installed")
def test_without_mteb_the_bridge_says_how_to_install_it() -> None:
    from qianru.compat.mteb import bridge

    with pytest.raises(MissingExtra, match="pip install 'mteb"):
        bridge("bm25")


def lines(path: Path, n: int) -> list[str]:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode().splitlines()[:n]


def texts_of(kind: str, data: Path) -> Any:
    """The columns of a small task of that type, from the real data."""
    if kind == "STS":
        rows = [line.split("\t") for line in lines(data / "sts/stsb_zh/STS-B.valid.data", 300)]
        return {"sentence1": [row[0] for row in rows], "sentence2": [row[1] for row in rows],
                "score": [float(row[2]) for row in rows]}
    if kind == "PairClassification":
        pairs = [json.loads(line) for line in lines(data / "pairs/bustm/dev_few_all.json", 160)]
        return {"sentence1": [row["sentence1"] for row in pairs], "sentence2": [row["sentence2"] for row in pairs],
                "labels": [int(row["label"]) for row in pairs]}
    if kind == "BitextMining":
        rows = [line.split("\t") for line in lines(data / "sts/stsb_zh/STS-B.valid.data", 1_500)]
        same = [row for row in rows if float(row[2]) == 5]
        return {"sentence1": [row[0] for row in same], "sentence2": [row[1] for row in same]}
    if kind == "Clustering":
        rows = [line.split("\t") for line in lines(data / "classification/csl_ctg/dev.tsv", 400)]
        return {"sentences": [row[1] for row in rows], "labels": [row[2] for row in rows]}
    reviews = [json.loads(line) for line in lines(data / "classification/fewclue_eprstmt/train_few_all.json", 160)]
    return {"text": [row["sentence"] for row in reviews], "label": [int(row["label"] == "Positive") for row in reviews]}


def searched(kind: str, data: Path) -> tuple[dict[str, str], dict[str, str], dict[str, dict[str, int]]]:
    """(queries, corpus, qrels) of 60 questions over paragraphs, or of search results that were graded."""
    if kind == "Reranking":
        graded: dict[str, dict[str, int]] = {}
        for line in lines(data / "reranking/qbqtc/dev.json.gz", 6_000):
            row = json.loads(line)
            graded.setdefault(row["query"], {})[row["title"]] = int(int(row["label"]) > 0)
        graded = {query: grades for query, grades in graded.items() if len(set(grades.values())) == 2}
        names = {text: f"d{i}" for i, text in enumerate({text: 0 for grades in graded.values() for text in grades})}
        return ({f"q{i}": query for i, query in enumerate(graded)}, {name: text for text, name in names.items()},
                {f"q{i}": {names[text]: grade for text, grade in grades.items()}
                 for i, grades in enumerate(graded.values())})
    said = json.loads(gzip.decompress((data / "retrieval/cmrc2018/cmrc2018_trial.json.gz").read_bytes()))
    paragraphs = [paragraph for article in said["data"] for paragraph in article["paragraphs"]]
    corpus = {f"p{i}": paragraph["context"] for i, paragraph in enumerate(paragraphs)}
    asked = [(f"p{i}", qas["question"]) for i, paragraph in enumerate(paragraphs) for qas in paragraph["qas"][:1]][:60]
    return ({f"q{i}": question for i, (_, question) in enumerate(asked)}, corpus,
            {f"q{i}": {name: 1} for i, (name, _) in enumerate(asked)})


def task_of(kind: str, data: Path) -> Any:
    """A task of mteb's own classes over that data."""
    import mteb
    from datasets import Dataset, DatasetDict
    from mteb.abstasks.task_metadata import TaskMetadata

    homes = {"BitextMining": mteb.abstasks.AbsTaskBitextMining, "Classification": mteb.abstasks.AbsTaskClassification,
             "Clustering": mteb.abstasks.AbsTaskClustering, "STS": mteb.abstasks.AbsTaskSTS,
             "PairClassification": mteb.abstasks.AbsTaskPairClassification,
             "Reranking": mteb.abstasks.AbsTaskRetrieval, "Retrieval": mteb.abstasks.AbsTaskRetrieval}
    scores = {"BitextMining": "f1", "Classification": "accuracy", "Clustering": "v_measure", "STS": "cosine_spearman",
              "PairClassification": "max_ap", "Reranking": "map_at_1000", "Retrieval": "ndcg_at_10"}

    class Own(homes[kind]):      # type: ignore[misc, name-defined]
        metadata = TaskMetadata(
            type=kind, name=f"Qianru{kind}", main_score=scores[kind], description="Texts of the project's real data.",
            reference=None, dataset={"path": "NA", "revision": "NA"}, category="t2t", eval_splits=["test"],
            eval_langs=["cmn-Hans"], date=None, domains=None, task_subtypes=None, license=None,
            annotations_creators=None, dialect=None, modalities=["text"], sample_creation=None, bibtex_citation="",
        )
        min_score, max_score = 0, 5

        def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:
            if kind in ("Retrieval", "Reranking"):
                queries, corpus, qrels = searched(kind, data)
                self.dataset = {"default": {"test": {
                    "queries": Dataset.from_list([{"id": name, "text": text} for name, text in queries.items()]),
                    "corpus": Dataset.from_list([{"id": name, "title": "", "text": text}
                                                 for name, text in corpus.items()]),
                    "relevant_docs": qrels,
                    "top_ranked": {name: list(grades) for name, grades in qrels.items()}
                    if kind == "Reranking" else None,
                }}}
            else:
                columns = Dataset.from_dict(texts_of(kind, data))
                self.dataset = DatasetDict(train=columns, test=columns)
            self.data_loaded = True

    return Own()


def score(model: Any, task: Any) -> float:
    import mteb

    result = mteb.evaluate(model, task, cache=None, show_progress_bar=False, co2_tracker=False)
    return float(result.task_results[0].scores["test"][0]["main_score"])


@pytest.fixture(scope="module")
def characters(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Word vectors of single characters: dense, fast, and knows what it says in Chinese."""
    from conftest import data_folder

    folder = data_folder()
    if folder is None:
        pytest.skip("the real data is not here")
    return qianru.load(folder / "vectors" / "tencent_char_4762x200.npz")


@needs_mteb
@pytest.mark.parametrize("kind", TYPES)
def test_mteb_runs_a_dense_model_on_every_type_of_task(kind: str, data: Path, characters: Model) -> None:
    from qianru.compat.mteb import bridge

    assert 0.05 < score(bridge(characters), task_of(kind, data)) <= 1


@needs_mteb
@pytest.mark.parametrize("kind", ["Retrieval", "Reranking"])
def test_our_search_scores_as_mtebs_own_over_the_same_vectors(kind: str, data: Path, characters: Model) -> None:
    from mteb.models.search_wrappers import SearchEncoderWrapper

    from qianru.compat.mteb import bridge

    ours = bridge(characters)
    assert score(ours, task_of(kind, data)) == pytest.approx(score(SearchEncoderWrapper(ours), task_of(kind, data)),
                                                             abs=1e-6)


@needs_mteb
def test_a_model_is_what_mteb_asks_for(characters: Model) -> None:
    from mteb.models.models_protocols import CrossEncoderProtocol, EncoderProtocol, SearchProtocol

    from qianru.compat.mteb import bridge

    dense, sparse = bridge(characters), bridge("bm25")
    assert isinstance(dense, EncoderProtocol)
    assert isinstance(dense, SearchProtocol)
    assert isinstance(sparse, SearchProtocol)
    assert not isinstance(sparse, EncoderProtocol | CrossEncoderProtocol)
    assert dense.mteb_model_meta.name.startswith("qianru/")
    assert dense.mteb_model_meta.revision == characters.spec.fingerprint[:12]


@needs_mteb
def test_bm25_learns_from_the_corpus_of_each_task(data: Path) -> None:
    from qianru.compat.mteb import bridge

    model = bridge("bm25")
    first = score(model, task_of("Retrieval", data))
    assert first > 0.7
    assert score(model, task_of("Reranking", data)) > 0.5
    assert score(model, task_of("Retrieval", data)) == first


class SharedCharacters:
    """A reranker without a network: how many characters query and document share."""

    spec = qianru.load("bm25").spec

    def score(self, pairs: Any, *, progress: Any = None) -> Any:
        """(n,) scores."""
        return np.array([len(set(query) & set(document)) for query, document in pairs], np.float32)


@needs_mteb
def test_a_reranker_is_a_cross_encoder_and_reranks(data: Path) -> None:
    from mteb.models.models_protocols import CrossEncoderProtocol

    from qianru.compat.mteb import PairBridge, bridge

    model = bridge(SharedCharacters())
    assert isinstance(model, PairBridge)
    assert isinstance(model, CrossEncoderProtocol)
    assert score(model, task_of("Reranking", data)) > 0.5


@needs_mteb
def test_what_a_model_cannot_do_is_refused(characters: Model) -> None:
    from qianru.compat.mteb import bridge

    with pytest.raises(BadInput, match="makes dense vectors, not sparse"):
        bridge(characters, "sparse")
    with pytest.raises(BadInput, match="no corpus"):
        bridge(BM25()).search({"id": []}, task_metadata=None, hf_split="", hf_subset="", top_k=1, encode_kwargs={})


@needs_mteb
def test_cosines_are_of_any_lengths(characters: Model) -> None:
    from qianru.compat.mteb import bridge

    model = bridge(characters)
    left, right = np.array([[3.0, 4.0]]), np.array([[6.0, 8.0], [4.0, -3.0]])
    assert_allclose(np.asarray(model.similarity(left, right)), [[1, 0]], atol=1e-7)
    assert_allclose(np.asarray(model.similarity_pairwise(right, right)), [1, 1], atol=1e-7)
