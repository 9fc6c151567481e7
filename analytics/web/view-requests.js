// The list of requests.

import { listed } from "./content.js";
import { el } from "./dom.js";
import { latestColumns } from "./requests.js";
import { OUTCOMES } from "./view-overview.js";

const list = {
  id: "requests",
  title: "Requests",
  size: "full",
  note: "The latest 100 of this time.",
  tools: ({ state, go }) => {
    const option = (value, name) => el("option", { value, selected: value === state.status }, name);
    const status = el(
      "select",
      { "aria-label": "Status", change: (event) => go({ status: event.target.value }) },
      option("", "Any status"),
      OUTCOMES.map((each) => option(each, each)),
    );
    const user = el("input", {
      type: "search",
      placeholder: "User",
      "aria-label": "User",
      value: state.user,
      change: (event) => go({ user: event.target.value.trim() }),
    });
    const request = el("input", {
      type: "search",
      placeholder: "Request id",
      "aria-label": "Open the request with this id",
      change: (event) => event.target.value.trim() && go({ view: "request", request: event.target.value.trim() }),
    });
    return [status, user, request];
  },
  asks: (state) => ({
    rows: {
      query: "latest_requests",
      more: { limit: 100, ...(state.status && { status: state.status }), ...(state.user && { user_id: state.user }) },
    },
  }),
  show: ({ rows }, context) => listed({ title: "Requests", rows, columns: latestColumns(context) }),
};

export const requests = { id: "requests", title: "Requests", panels: [list] };
