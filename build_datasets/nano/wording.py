"""The short questions of Nano's data; long ones are dq495k's."""

BRIEF_QUESTIONS = (
    "What is the main distortion in this image?",
    "Which kind of degradation affects the image most?",
    "Name the distortion that you see in this picture.",
    "What has gone wrong with the quality of this photo?",
    "What type of distortion does the evaluated image have?",
    "Which flaw harms the quality of this image?",
    "If this image is degraded, by what?",
    "Identify the distortion of the image.",
)

RATING_QUESTIONS = (
    "Which image has the better quality, Image A or Image B?",
    "Of the two images, which one looks better?",
    "Compare the quality of Image A and Image B: which is higher?",
    "Which one would you keep, Image A or Image B?",
    "Which of these images suffers less from distortion?",
    "Is Image A or Image B of higher quality?",
    "Which of the two pictures is closer to a perfect photo?",
    "Choose the image with fewer quality problems.",
)

SEVERITY_QUESTION = (
    "How severe is the distortion of this image: none, slight, moderate, obvious, serious or catastrophic? Answer the "
    "question using a single word or phrase."
)
