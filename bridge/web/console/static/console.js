// What htmx can't do: times in the reader's own zone, menus that close, texts that are kept while they are written.
(() => {
  "use strict";

  const each = (root, selector, work) => root.querySelectorAll(selector).forEach(work);

  // --- times ---

  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
  const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
  const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"]];

  const age = (at) => {
    const seconds = (Date.now() - at) / 1000;
    if (seconds > 6 * 86400) return day.format(at);
    const unit = UNITS.find(([size]) => seconds >= size);
    return unit ? `${Math.floor(seconds / unit[0])} ${unit[1]}` : "now";
  };

  const WRITE = { age, clock: (at) => clock.format(at), full: (at) => full.format(at), day: (at) => weekday.format(at) };

  const times = (root) => each(root, "[data-as]", (time) => {
    const at = new Date(time.dateTime || time.dataset.at);
    const words = WRITE[time.dataset.as](at);
    if (time.textContent !== words) time.textContent = words;
    if (!time.title) time.title = full.format(at);
  });

  // --- the transcript ---

  const scroller = () => document.querySelector("[data-bottom]");
  const atBottom = (box) => box.scrollHeight - box.scrollTop - box.clientHeight < 60;
  const toBottom = (box) => { box.scrollTop = box.scrollHeight; };

  let stick = false;
  let kept = false;
  const open = new Set();

  // A part in which somebody types stays as it is, and so does its poller: it asks again until the part is free.
  const FIELDS = "textarea, select, input:not([type=hidden])";
  const typed = (field) => field === document.activeElement || field.value !== field.defaultValue
    || field.checked !== field.defaultChecked;
  const inUse = (part) => [...part.querySelectorAll(FIELDS)].some((field) => field.localName !== "select" && typed(field));

  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    const { target } = event.detail;
    if (target.classList.contains("poller") ? kept : inUse(target)) {
      event.detail.shouldSwap = false;
      kept = true;
    }
  });

  document.addEventListener("htmx:beforeSwap", () => {
    kept = false;
    const box = scroller();
    stick = Boolean(box && atBottom(box));
    open.clear();
    each(document, "details[id][open]", (details) => open.add(details.id));
  });

  // htmx settles at once (defaultSettleDelay), so nothing that was unfolded is seen folded.
  document.addEventListener("htmx:afterSettle", () => {
    open.forEach((id) => { const details = document.getElementById(id); if (details) details.open = true; });
    times(document);
    const box = scroller();
    if (box && stick) toBottom(box);
  });

  // --- live ---

  // The stream tells that something has changed, and the pollers ask what. While it is open they rarely ask by
  // themselves: only for what is no news, such as a receipt. A page that nobody sees asks for nothing.
  const KINDS = ["conversation", "audit", "pause", "reset"];
  const RARELY = 15000;
  const asked = new Map();
  let stream = null;
  let soon = 0;

  const news = () => {
    clearTimeout(soon);
    soon = setTimeout(() => document.body.dispatchEvent(new CustomEvent("news")), 150);
  };
  const listening = () => Boolean(stream && stream.readyState === EventSource.OPEN);

  const listen = () => {
    const address = document.body.dataset.events;
    if (!address || document.hidden || (stream && stream.readyState !== EventSource.CLOSED)) return;
    stream = new EventSource(address);
    KINDS.forEach((kind) => stream.addEventListener(kind, news));
  };

  document.addEventListener("htmx:beforeRequest", (event) => {
    const { elt, requestConfig } = event.detail;
    if (!elt.classList.contains("poller")) return;
    const told = requestConfig.triggeringEvent && requestConfig.triggeringEvent.type === "news";
    const rarely = listening() && !told && Date.now() - (asked.get(elt.id) || 0) < RARELY;
    if (document.hidden || rarely) event.preventDefault();
    else asked.set(elt.id, Date.now());
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { if (stream) stream.close(); return; }  // a browser has few connections for all its pages
    listen();
    news();
  });
  setInterval(listen, 30000);

  // --- menus ---

  document.addEventListener("click", (event) => {
    each(document, "details.menu[open]", (menu) => { if (!menu.contains(event.target)) menu.open = false; });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    each(document, "details.menu[open]", (menu) => {
      const within = menu.contains(document.activeElement);
      menu.open = false;
      if (within) menu.querySelector("summary").focus();
    });
  });

  // --- forms ---

  document.addEventListener("submit", (event) => {
    const form = event.target;
    const ask = event.submitter && event.submitter.dataset.ask;
    if (ask && !window.confirm(ask)) { event.preventDefault(); return; }
    if (form.dataset.sent) { event.preventDefault(); return; }  // a double click; the server would notice it too
    if (form.method !== "post" || "again" in form.dataset) return;
    form.dataset.sent = "yes";
    if (event.submitter) event.submitter.setAttribute("aria-disabled", "true");
  });
  window.addEventListener("pageshow", () => each(document, "form[data-sent]", (form) => {
    delete form.dataset.sent;
    each(form, "[aria-disabled]", (button) => button.removeAttribute("aria-disabled"));
  }));

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
  });

  // --- writing a text ---

  const grow = (area) => {
    if (CSS.supports("field-sizing", "content")) return;
    area.rows = Math.min(10, Math.max(2, area.value.split("\n").length));
  };

  const keep = (area) => {
    const name = `draft ${area.dataset.keep}`;
    if (area.value) sessionStorage.setItem(name, area.value); else sessionStorage.removeItem(name);
  };

  const restore = (area) => {
    const name = `draft ${area.dataset.keep}`;
    if ("done" in area.dataset) sessionStorage.removeItem(name);
    else if (!area.value && !area.disabled) area.value = sessionStorage.getItem(name) || "";
  };

  document.addEventListener("input", (event) => {
    if (!event.target.matches("textarea[data-keep]")) return;
    keep(event.target);
    grow(event.target);
    suggest(event.target);
  });

  document.addEventListener("keydown", (event) => {
    const area = event.target;
    if (!area.matches || !area.matches("textarea[data-keep]")) return;
    if (choose(area, event)) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); area.form.requestSubmit(); }
  });

  // --- canned replies: a slash and the beginning of a name ---

  const list = () => document.getElementById("canned-list");

  const suggest = (area) => {
    const box = list();
    if (!box || area.name !== "body" || !area.dataset.canned) return;
    const typed = /^\/(\S*)$/.exec(area.value);
    let any = false;
    each(box, "[role=option]", (option) => {
      option.hidden = !typed || !option.dataset.name.toLowerCase().startsWith(typed[1].toLowerCase());
      option.setAttribute("aria-selected", "false");
      any = any || !option.hidden;
    });
    box.hidden = !any;
    if (any) select(area, box.querySelector("[role=option]:not([hidden])"));
    else area.removeAttribute("aria-activedescendant");
  };

  const select = (area, option) => {
    each(list(), "[aria-selected=true]", (other) => other.setAttribute("aria-selected", "false"));
    option.setAttribute("aria-selected", "true");
    area.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
  };

  const put = (area, option) => {
    area.value = option.dataset.body;
    list().hidden = true;
    area.removeAttribute("aria-activedescendant");
    area.dispatchEvent(new Event("input", { bubbles: true }));
    area.focus();
  };

  const choose = (area, event) => {
    const box = list();
    if (!box || box.hidden) return false;
    const options = [...box.querySelectorAll("[role=option]:not([hidden])")];
    const now = options.findIndex((option) => option.getAttribute("aria-selected") === "true");
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) select(area, options[(now + step + options.length) % options.length]);
    else if (event.key === "Enter" || event.key === "Tab") put(area, options[Math.max(0, now)]);
    else if (event.key === "Escape") box.hidden = true;
    else return false;
    event.preventDefault();
    return true;
  };

  document.addEventListener("click", (event) => {
    const option = event.target.closest && event.target.closest("#canned-list [role=option]");
    if (option) put(document.querySelector("textarea[data-canned]"), option);
    const use = event.target.closest && event.target.closest("[data-use]");
    if (use) {
      const area = document.getElementById("text");
      area.value = use.dataset.use;
      area.dispatchEvent(new Event("input", { bubbles: true }));
      area.focus();
    }
    if (event.target.closest && event.target.closest("[data-print]")) window.print();
  });

  // --- the start ---

  const start = () => {
    times(document);
    each(document, "textarea[data-keep]", (area) => { restore(area); grow(area); });
    const area = document.querySelector("textarea[data-keep]");
    if (area && area.value) area.dispatchEvent(new Event("input", { bubbles: true }));
    const box = scroller();
    if (box) toBottom(box);
    listen();
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start); else start();
  setInterval(() => times(document), 30000);
})();
