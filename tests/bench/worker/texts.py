"""Texts to be measured with: 256 English passages of about 50, 128 and 256 pieces and 256 queries of 8 to 16, cut from the prose in
the documentation of pinned Python packages, so that every machine has the same ones and none is kept here: texts.py OUTPUT TOKENIZER
"""

import ast
import json
import random
import re
import sys
from pathlib import Path

import scipy
import sklearn
from tokenizers import Tokenizer

LENGTHS = (50, 128, 256)
COUNT = 256
SEED = 20
# Pieces that a tokenizer puts around a text.
AROUND = 2


def is_prose(paragraph):
    """Neither a table nor a listing nor a formula."""
    letters = sum(character.isalpha() or character == " " for character in paragraph)
    return len(paragraph) > 150 and letters > 0.92 * len(paragraph) and paragraph.count(" ") > 20


def paragraphs(package):
    """Of all documentation strings, each once, in a fixed order."""
    for path in sorted(Path(package.__file__).parent.rglob("*.py")):
        if "tests" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                for paragraph in re.split(r"\n\s*\n", ast.get_docstring(node) or ""):
                    flat = re.sub(r"\s+", " ", re.sub(r"[`*]", "", paragraph)).strip()
                    if is_prose(flat):
                        yield flat


def cut(words, pieces, low, high, randomness):
    """The next words of the stream until there are as many pieces as wished; a word that would be too much is left out."""
    wished, count, text = randomness.randint(low, high), AROUND, []
    while count < wished:
        word = next(words)
        if count + pieces(word) <= high:
            text.append(word)
            count += pieces(word)
    return " ".join(text)


def main(output, tokenizer):
    tokenizer = Tokenizer.from_file(tokenizer)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    found = list(dict.fromkeys([*paragraphs(scipy), *paragraphs(sklearn)]))
    randomness = random.Random(SEED)
    randomness.shuffle(found)
    stream = " ".join(found).split(" ")

    def endless():
        while True:
            yield from stream

    words = endless()
    known = {}

    def pieces(word):
        if word not in known:
            known[word] = len(tokenizer.encode(word, add_special_tokens=False).ids)
        return known[word]

    texts = {}
    for length in LENGTHS:
        texts[str(length)] = [cut(words, pieces, length - length // 12, length + length // 12, randomness) for _ in range(COUNT)]
    texts["query"] = [cut(words, pieces, 8, 16, randomness) for _ in range(COUNT)]
    Path(output).write_text(json.dumps(texts))
    for name, of in texts.items():
        counts = sorted(len(tokenizer.encode(text).ids) for text in of)
        print(f"texts of {name}: {counts[0]} to {counts[-1]} pieces, median {counts[len(counts) // 2]}; {len(set(of))} different")


if __name__ == "__main__":
    main(*sys.argv[1:])
