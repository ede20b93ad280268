"""What can be learned: the tracks, and the words that lessons are called by.

Put here: specializations, levels, topics, and the titles made of them.
Do not put here: the lessons themselves and their order (`catalogue`), or who takes which track (`people`).
"""

from __future__ import annotations

_TOPICS_OF_TRACKS = {
    ("data", "1"): (
        "Tables and types; Selecting rows; Filters and conditions; Sorting and limits; Joins and keys; "
        "Grouping and totals; Missing values; Dates and times; Text and patterns; Charts that tell the truth; "
        "Mean, median and spread; A first report"
    ),
    ("data", "2"): (
        "Subqueries; Window functions; Views and reuse; Indexes and plans; Cleaning messy files; Reshaping "
        "tables; Sampling and bias; Correlation and cause; Hypotheses and tests; Dashboards; Data quality "
        "checks; Working with an API"
    ),
    ("data", "3"): (
        "Star schemas; Slowly changing dimensions; Partitions and backfills; Streams and batches; Linear "
        "models; Trees and forests; Evaluating a model; Time series; Experiments at scale; Privacy and "
        "consent; Cost and performance; Lineage and contracts"
    ),
    ("web", "1"): (
        "How a page is loaded; Headings and paragraphs; Links and images; Lists and tables; Forms and labels; "
        "Selectors and the cascade; The box model; Colours and type; Flexible layouts; Grids; Pages on small "
        "screens; Publishing a site"
    ),
    ("web", "2"): (
        "Variables and functions; Arrays and objects; Events; Changing the page; Fetching data; Promises; "
        "Modules; Components and state; Routing; Validating input; Accessibility; Testing a page"
    ),
    ("web", "3"): (
        "Servers and requests; Databases behind a site; Sessions and sign-in; Cross-site attacks; Caching; "
        "Queues and workers; Logs and traces; Rendering on the server; Real-time updates; Containers; "
        "Deploying without downtime; Measuring speed"
    ),
    ("design", "1"): (
        "Seeing and sketching; Contrast; Alignment and rhythm; White space; Typefaces; Colour harmony; Icons; "
        "Photographs; Composition; Giving feedback; Paper prototypes; A first poster"
    ),
    ("design", "2"): (
        "Interviews; Personas; User journeys; Card sorting; Wireframes; Clickable prototypes; Usability "
        "tests; Writing for buttons; Forms people finish; Empty states; Motion; Design for everyone"
    ),
    ("design", "3"): (
        "Design systems; Tokens and themes; Components and variants; Handing over to engineers; Measuring "
        "success; Service blueprints; Running a workshop; Design for trust; Dark patterns; Localisation; "
        "Critique and craft; Building a portfolio"
    ),
}
_FORMS = (
    "worked examples",
    "practice",
    "common mistakes",
    "in pairs",
    "a small project",
    "a closer look",
    "case study",
    "review",
    "challenge",
)
TRACKS = tuple(_TOPICS_OF_TRACKS)
"""A track is one specialization at one level: what a student is enrolled in. Known by its number elsewhere."""


def titles(track: int, count: int) -> list[str]:
    """Titles such as "Joins and keys" and "Joins and keys: worked examples", topic by topic."""
    topics = _TOPICS_OF_TRACKS[TRACKS[track]].split("; ")
    per_topic = -(-count // len(topics))
    made = []
    for number in range(count):
        topic, part = topics[number // per_topic], number % per_topic
        volume, form = divmod(part - 1, len(_FORMS))
        suffix = "" if part == 0 else f": {_FORMS[form]}" + (f", part {volume + 1}" if volume else "")
        made.append(topic + suffix)
    return made
