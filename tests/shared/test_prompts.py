"""Reports and tables become prompts."""

import numpy as np
import pytest
import torch

from shared.data.prompts import DrawPrompt, read_prompts, report_sentences, template_sentences, training_texts
from shared.errors import InputError
from shared.networks import ClipTextEncoder, WordTextEncoder

REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___ year old woman with cough.  // pneumonia?

 FINDINGS:

 There is focal consolidation at the left lung base. The heart measures 12.5 cm across.
 No effusion.

 IMPRESSION:

 1. Left lower lobe pneumonia. 2. Follow up in ___ weeks.
"""


def test_sentences_of_both_sections_without_numbering_and_blanks():
    assert report_sentences(REPORT) == [
        "There is focal consolidation at the left lung base.",
        "The heart measures 12.5 cm across.",
        "No effusion.",
        "Left lower lobe pneumonia.",
        "Follow up in weeks.",
    ]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("INDICATION: Cough. FINDINGS: Clear lungs. IMPRESSION: Normal.", ["Clear lungs.", "Normal."]),  # in a paragraph
        ("IMPRESSION: Normal chest", ["Normal chest"]),
        ("FINDINGS: Clear lungs.\nNOTIFICATION: By phone.", ["Clear lungs."]),
    ],
)
def test_sections_end_at_the_next_heading(text, sentences):
    assert report_sentences(text) == sentences


@pytest.mark.parametrize(
    ("text", "reason"),
    [("The lungs are clear.", "no headings"), ("INDICATION: Cough.", "INDICATION"), ("FINDINGS: ___", "empty")],
)
def test_a_report_without_the_sections_is_an_error(text, reason):
    with pytest.raises(ValueError, match=reason):
        report_sentences(text)


def test_templates_say_what_the_table_says():
    item = {"findings": ["pleural_thickening", "pneumonia"], "view": "AP", "age": "71", "sex": "F"}
    rng = np.random.RandomState(0)
    draws = {" ".join(template_sentences(item, rng)) for _ in range(60)}
    assert "pneumonia and pleural thickening. anteroposterior view. elderly woman." in draws
    assert "pleural thickening and pneumonia." in draws
    assert {" ".join(template_sentences({"findings": []}, rng))} == {"no finding."}


def test_prompts_are_random_sentences_in_order_at_most_five_and_sometimes_empty():
    item = {"sentences": [f"{word} lung." for word in "abcdefgh"]}
    draw, rng = DrawPrompt(str, empty_share=0.1), np.random.RandomState(0)
    drawn = [draw(item, rng) for _ in range(2000)]
    assert sum(text == "" for text in drawn) / 2000 == pytest.approx(0.1, abs=0.03)
    counts = {text.count(".") for text in drawn if text}
    assert counts == {1, 2, 3, 4, 5}
    assert all(text.split() == sorted(text.split()) for text in (drawn.replace("lung.", "") for drawn in drawn))


def test_sentences_are_left_out_until_a_prompt_fits():
    text = WordTextEncoder(words=20, length=6)
    item = {"sentences": ["one two.", "three four.", "five six."]}
    text.learn(training_texts([item]))
    for seed in range(20):
        tokens = DrawPrompt(text.tokenize, empty_share=0)(item, np.random.RandomState(seed))
        assert tokens.shape == (6,) and (tokens > 3).sum() == 3  # the first of the sentences: two words and a full stop


def test_an_item_without_text_is_an_error():
    with pytest.raises(ValueError, match="A: neither sentences nor findings"):
        DrawPrompt(str, 0)({"case": "A"}, np.random.RandomState(0))


def test_a_file_of_prompts(tmp_path):
    (tmp_path / "p.txt").write_text("pneumonia.\n\n no finding. \n")
    assert read_prompts("x", tmp_path / "p.txt") == ["pneumonia.", "no finding."]
    assert read_prompts("x", None) == ["x"]
    (tmp_path / "p.txt").write_text("\n \n")
    with pytest.raises(InputError, match="p.txt holds no prompt"):
        read_prompts("x", tmp_path / "p.txt")
    with pytest.raises(InputError, match="no file of prompts"):
        read_prompts("x", tmp_path / "q.txt")


def test_words_and_weights_travel_together(caplog):
    text, other = WordTextEncoder(words=6, length=8, width=8, heads=2), WordTextEncoder(words=6, length=8, width=8, heads=2)
    text.learn(["pneumonia. no finding.", "pneumonia."])
    assert text.vocabulary == {".": 4, "pneumonia": 5, "finding": 6, "no": 7}
    other.load_state_dict(text.state_dict())
    tokens = text.tokenize("No finding, Pneumonia", warn=True)
    assert tokens.tolist() == other.tokenize("no finding, pneumonia").tolist() == [1, 7, 6, 3, 5, 2, 0, 0]
    assert "not trained with ," in caplog.text
    features = text.eval()(tokens[None])
    assert features.shape == (1, 8, 8) and features[0, 6:].abs().max() == 0 and features[0, :6].abs().min() > 0
    assert torch.equal(features, other.eval()(tokens[None]))
    with pytest.raises(ValueError, match="prompt of 12 tokens, expected 8 at most"):
        text.tokenize("no " * 10)


def test_clip_from_a_local_folder(tmp_path):
    """A tiny CLIP with random weights, laid out as Stable Diffusion lays out its own."""
    transformers = pytest.importorskip("transformers", reason="needs the extra clip")
    (tmp_path / "tokenizer").mkdir()
    letters = [*"abcdefghijklmnopqrstuvwxyz.", *(f"{c}</w>" for c in "abcdefghijklmnopqrstuvwxyz.")]
    words = {word: i for i, word in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    import json

    (tmp_path / "tokenizer" / "vocab.json").write_text(json.dumps(words))
    (tmp_path / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    transformers.CLIPTokenizer(
        str(tmp_path / "tokenizer" / "vocab.json"), str(tmp_path / "tokenizer" / "merges.txt")
    ).save_pretrained(tmp_path / "tokenizer")
    settings = {"vocab_size": len(words), "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    settings |= {"num_hidden_layers": 1, "max_position_embeddings": 12, "eos_token_id": len(words) - 1}
    model = transformers.CLIPTextModel(transformers.CLIPTextConfig(**settings))
    model.save_pretrained(tmp_path / "text_encoder")
    text = ClipTextEncoder(str(tmp_path), length=12)
    tokens = text.tokenize("No lung.")
    assert tokens.shape == (12,) and tokens[0] == words["<|startoftext|>"]
    expected = model.eval()(tokens[None]).last_hidden_state
    torch.testing.assert_close(text(tokens[None]), expected)
    assert not list(text.parameters()) and not text.state_dict()  # frozen, and not shipped
    with pytest.raises(ValueError, match="expected 12 at most"):
        text.tokenize("abcdefghijklmnop")
    with pytest.raises(InputError, match="no CLIP text encoder '.*nothing"):
        ClipTextEncoder(str(tmp_path / "nothing"))
