// What is looked at, in the address of the page: it can be shared, reloaded, and gone back to.

export const FILTERS = ["tenant", "model", "prompt_template", "prompt_version", "experiment"];
export const RANGES = {
  "1h": { name: "Last hour", seconds: 3_600 },
  "6h": { name: "Last 6 hours", seconds: 21_600 },
  "24h": { name: "Last 24 hours", seconds: 86_400 },
  "7d": { name: "Last 7 days", seconds: 604_800 },
  "30d": { name: "Last 30 days", seconds: 2_592_000 },
  "90d": { name: "Last 90 days", seconds: 7_776_000 },
};
const DEFAULTS = {
  view: "overview",
  range: "24h",
  since: "",
  until: "",
  ...Object.fromEntries(FILTERS.map((name) => [name, ""])),
  by: "model",
  stage: "",
  status: "",
  user: "",
  request: "",
};

export function readAddress() {
  const given = new URLSearchParams(location.search);
  const state = Object.fromEntries(Object.entries(DEFAULTS).map(([name, value]) => [name, given.get(name) ?? value]));
  const own = isInstant(state.since) && isInstant(state.until) && state.since < state.until;
  if (!own) Object.assign(state, { since: "", until: "" });
  if (!(state.range in RANGES)) state.range = DEFAULTS.range;
  return state;
}

/** The page's address in this state; what is as usual is left out. */
export function addressOf(state) {
  const said = Object.entries(state).filter(
    ([name, value]) => value !== DEFAULTS[name] && !(name === "range" && state.since),
  );
  const query = new URLSearchParams(said).toString();
  return query ? `${location.pathname}?${query}` : location.pathname;
}

export const goTo = (state) => history.pushState(null, "", addressOf(state));

/** The time that is looked at, and the length of a step in it, in seconds. */
export function windowOf(state, now = Date.now()) {
  const until = state.since ? Date.parse(state.until) : now;
  const since = state.since ? Date.parse(state.since) : now - RANGES[state.range].seconds * 1_000;
  const length = (until - since) / 1_000;
  return {
    since: new Date(since).toISOString(),
    until: new Date(until).toISOString(),
    sinceS: since / 1_000,
    untilS: until / 1_000,
    bucketS: bucketOf(length),
  };
}

/** Some 30 to 90 steps, each a length that people count in; under an hour only where rows and not hours are read. */
function bucketOf(length) {
  if (length <= 3_600) return 60;
  if (length <= 21_600) return 300;
  if (length <= 172_800) return 3_600;
  if (length <= 691_200) return 10_800;
  return 86_400;
}

const isInstant = (text) =>
  /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?Z$/.test(text) && !Number.isNaN(Date.parse(text));
