"""Twenty-four short texts and how they go on: what forms of a language model are compared on. Written for this purpose.

The number of a form's log p on them says how far it lies from the base form, not how good the model is.
"""

from __future__ import annotations

PAIRS: tuple[tuple[str, str], ...] = (
    ("The capital of France is", " Paris, a city on the river Seine."),
    ("Water boils at one hundred degrees", " Celsius at the level of the sea."),
    ("A hedge of hazel and hawthorn keeps", " the wind from the field and gives birds a home."),
    ("To make bread you need flour, water, salt and", " yeast, and some hours of patience."),
    ("The sun rises in the east and sets", " in the west every day of the year."),
    ("She opened the letter, read it twice and", " then put it back into the drawer."),
    ("The train to the coast leaves at eight, so we", " should be at the station before that."),
    ("Seven days make a week and twelve months make", " a year."),
    ("In winter the lake is frozen and children", " skate on it after school."),
    ("The doctor looked at the picture and said that the bone", " was not broken."),
    ("Plants take in carbon dioxide and give off", " oxygen when there is light."),
    ("If you mix blue and yellow paint you get", " green."),
    ("The old bridge was closed because its pillars", " were no longer safe."),
    ("A triangle has three sides and a square has", " four sides of the same length."),
    ("He forgot his umbrella at home, and of course it", " began to rain on the way to work."),
    ("The farmer sold his milk to the dairy in the next", " village for many years."),
    ("Computers store numbers as zeros and", " ones, in long rows of tiny switches."),
    ("The museum is free on Sundays, which is why it is", " full of families on that day."),
    ("Bees fly from flower to flower and carry", " pollen on their legs."),
    ("After the storm the road was blocked by", " a fallen tree."),
    ("The recipe says that the cake must stay in the oven for", " forty minutes."),
    ("Light travels faster than sound, so we see the lightning before", " we hear the thunder."),
    ("The teacher asked a question and nobody in the class", " knew the answer."),
    ("An hour has sixty minutes and a minute has", " sixty seconds."),
)
