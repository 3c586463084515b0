# SPDX-License-Identifier: GPL-2.0-only
"""No word is used before it is said: over the pages in their order, and the glossary."""

import re

import pytest

from kvm_vmx.lessons import NAMES, glossary, load

TERMS = glossary.terms()
# What a reader of C knows, and names that explain themselves where they stand: registers, jumps,
# bit operations of the processor, numbers of the kernel's header files.
KNOWN = {
    "AND", "ADD", "BUG", "CPU", "CPU2", "CPUs", "CR0", "CR3", "CR4", "CR8", "CRDR", "EAX", "ECX",
    "EFAULT", "ENLIGHTENMENTSCONTROL", "ENODEV", "ENOENT", "FS",
    "GByte", "GS", "JMP", "KB", "MB", "MOV", "NOP", "OK",
    "RCX", "RFLAGS", "RIP",
    "RSP", "SYSENTER", "WARN", "XOR", "L0's", "L1's", "L2's",
}
WORD = re.compile(r"(?<![\w.])[A-Z][A-Z0-9]+s?(?![\w(.*-])")


@pytest.fixture(scope="module")
def pages():
    """What each lesson says, in the order of the course."""
    found = {}
    for name in NAMES:
        record = load(name).run(1)
        pictures = [one for one in (record.picture, record.solved) if one]
        found[name] = "\n".join([
            record.title, *record.about, *record.run, record.question, *record.answer,
            record.leaves_out, *(step.caption for one in pictures for step in one.steps),
            *(column for one in pictures for column in one.columns)])
    return found


def test_the_glossary_is_in_the_order_of_the_course():
    at = [NAMES.index(term.lesson) for term in TERMS]
    assert at == sorted(at)
    assert len({term.anchor for term in TERMS}) == len(TERMS)
    spellings = [spelling for term in TERMS for spelling in term.spellings]
    assert len(set(spellings)) == len(spellings)


def test_a_sentence_uses_only_words_above_it():
    early = {term.name: [word.name for word in glossary.found(term.says)
                         if TERMS.index(word) > n] for n, term in enumerate(TERMS)}
    assert {name: words for name, words in early.items() if words} == {}
    assert all(term.says.endswith(".") and len(term.says) < 200 for term in TERMS)


def test_no_page_uses_a_word_that_is_said_later(pages):
    early = [(name, term.name) for name, text in pages.items()
             for term in dict.fromkeys(glossary.found(text))
             if NAMES.index(term.lesson) > NAMES.index(name)]
    assert early == []


def test_each_word_is_said_where_the_glossary_says(pages):
    assert [(term.name, term.lesson) for term in TERMS
            if term not in glossary.found(pages[term.lesson])] == []


def test_each_capital_word_is_known_or_in_the_glossary(pages):
    """Names of fields and of registers that a lesson explains by its table are no words: they have
    an underscore, or stand in a picture's cell."""
    words = {spelling for term in TERMS for spelling in term.spellings}
    unknown = {name: sorted(set(WORD.findall(text)) - words - KNOWN)
               for name, text in pages.items()}
    assert {name: found for name, found in unknown.items() if found} == {}


def test_a_word_leads_to_its_place():
    seen = set()
    text = glossary.linked("A VM exit <b> of L2; a VM exit", seen)
    assert text == ('A <a href="glossary.html#vm-exit">VM exit</a> &lt;b&gt; of '
                    '<a href="glossary.html#l2">L2</a>; a VM exit')
    assert seen == {"VM exit", "L2"}
    assert all(f'id="{term.anchor}"' in glossary.body() for term in TERMS)
