"""DQ-495K's construction: from a folder of photos to training and test json files.

labels.py            what is wrong with a picture: how it is drawn, how metas and answers name it
distort.py           photos -> distorted pictures and metas, on any number of processes
questions.py         every question and short answer, in tables
brief.py             metas -> short questions and answers
rating.py            opinion scores and preferences -> questions which of two is better
prompts.py           what a vision LLM is asked for a long answer
measure.py           what can be measured of a picture and its reference
describe.py          long answers from labels and measurements, without any API
responses.py         metas -> long answers, by a vision LLM or by describe.py
detail.py            long answers -> training and test json
noref.py             the same without the reference: texts that no longer mention it
files.py             folders of metas, splits, items
"""
