"""A small file of multiple-choice questions over golden pictures, in the layout of Q-Bench on the hub."""

from conftest import image_path

ROWS = [
    ("s03_300x180.png", "Is this image sharp?", ("Yes", "No"), "B"),
    ("s16_dist_128x96.png", "Which distortion is most apparent?", ("Noise", "Blur", "Pixelation", "Darkness"), "A"),
    ("s02_224x224.png", "How is the contrast?", ("High", "Normal", "Low"), "B"),
]
QUESTIONS = [
    {
        "id": number,
        "image_path": str(image_path(name)),
        "question": question,
        **{f"option{place}": option for place, option in enumerate((*options, *["N/A"] * (4 - len(options))))},
        "correct_choice": answer,
    }
    for number, (name, question, options, answer) in enumerate(ROWS)
]
