/* dashboard.js: the page: asks the control plane once a second, and shows what it says.
 *
 * What the control plane tells of is read from its list of paths first, so that only what is there is asked for.  A round
 * of questions is followed by the next after a second (five while nobody looks), never by two at once.  When one fails
 * the page keeps what it has, greyed, says so, and goes on asking.  Counters that begin anew belong to another process:
 * its figures are not mixed with the old one's.
 *
 * Nothing moves under a reader: lists keep their height and rows their identity (dom.js).  Everything kept is bounded:
 * snapshots by ten seconds, charts by five minutes, stalls (stalls.js) by what the server keeps.
 */
import * as f from "./figures.js";
import { Chart, drawn } from "./charts.js";
import { byId, element, keyed, put } from "./dom.js";
import { heldLoops, longestLag, showStalls } from "./stalls.js";

const PERIOD = 1000, PERIOD_HIDDEN = 5000, PATIENCE = 4000, WINDOW = 10000, RESORT = 5000;
const DURATION = "http_server_request_duration_seconds";
const LANES = ["async", "sync"];

/* ---- asking ---- */

let offered = null;             /* paths the control plane tells of */
let paused = false, timer = 0, asking = false, lostAt = null;
let changes = 0;                /* made by the reader, to pools */

async function fetchText(path, options = {}) {
	const reply = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE), ...options });
	const text = await reply.text();
	if (!reply.ok)
		throw Object.assign(new Error(`${path}: ${reply.status}`), { reply: text });
	return text;
}

async function fetchJson(path) {
	return offered.has(path) ? JSON.parse(await fetchText(path)) : null;
}

async function round() {
	if (!offered) {
		const list = await fetchText("/", { headers: { Accept: "text/plain" } });
		offered = new Set([...list.matchAll(/^(\/\w+)\s/gm)].map(found => found[1]));
	}
	const [metrics, routes, pools, stalls, advice] = await Promise.all([fetchText("/metrics"), fetchJson("/routes"),
		fetchJson("/pools"), fetchJson("/stalls"), fetchJson("/advice")]);
	return { snap: f.snapshot(metrics, performance.now()), routes, pools, stalls, advice };
}

function say(state, text) {
	const line = byId("state");
	line.dataset.state = state;
	put(line, text);
	document.body.classList.toggle("stale", state === "lost");
}

async function tick() {
	if (asking)
		return;
	clearTimeout(timer);
	asking = true;
	try {
		let told, begun;
		do {
			begun = changes;
			told = await round();
		} while (begun !== changes);    /* what was asked before a change tells of before it */
		lostAt = null;
		show(told);
		say(paused ? "paused" : "live", paused ? `paused at ${f.clock(new Date())}` : "live");
	} catch (error) {
		if (!(error instanceof TypeError || error instanceof DOMException || error.reply !== undefined))
			console.error(error);
		if (!lostAt) {
			lostAt = new Date();
			offered = null; /* the next process may offer other things */
		}
		say("lost", `no answer since ${f.clock(lostAt)}; asking again`);
	}
	asking = false;
	if (!paused || lostAt)
		timer = setTimeout(tick, document.hidden ? PERIOD_HIDDEN : PERIOD);
}

/* ---- figures of a moment ---- */

let history = [];       /* snapshots of the last ten seconds, oldest first */

function remember(snap) {
	const last = history[history.length - 1];
	const start = "process_start_time_seconds";
	if (last && (f.total(last, start) !== f.total(snap, start) ||
		f.total(last, "offloop_requests_total") > f.total(snap, "offloop_requests_total"))) {
		history = [];
		for (const chart of Object.values(charts))
			chart.clear();
		dropCards([...pools.values()]);
	}
	history.push(snap);
	while (history.length > 2 && snap.at - history[1].at >= WINDOW)
		history.shift();
}

function requests(now, then, accept) {
	return f.gained(now, then, DURATION, accept);
}

const failed = labels => labels.status[0] === "5";
const broken = labels => failed(labels) && labels.status !== "503";

function turnedAway(now, then) {
	const each = ["offloop_requests_shed_total", "offloop_pool_rejected_total", "offloop_route_rejected_total"]
		.map(name => f.rate(now, then, name)).filter(v => v !== null);
	return each.length ? Math.max(...each) : null;
}

/* ---- tiles ---- */

const tiles = [
	["rate", "Requests", "per second"], ["p50", "Median latency", "to the last byte"],
	["p99", "99th percentile", "to the last byte"], ["errors", "Errors per second", "5xx other than 503"],
	["away", "Turned away", "503, per second"], ["flight", "In flight", ""],
	["load", "Busiest loop", "share of its time"], ["lag", "Loop lag", "99th percentile"],
];

function makeTiles() {
	for (const [id, name, unit] of tiles) {
		const tile = element("div", "tile");
		tile.id = `tile-${id}`;
		tile.append(element("dt", "", name), element("dd", "figure", f.NONE), element("dd", "unit", unit));
		byId("tiles").append(tile);
	}
}

function tile(id, text, grade, unit) {
	const t = byId(`tile-${id}`);
	put(t.querySelector(".figure"), text);
	t.dataset.grade = grade || "";
	if (unit !== undefined)
		put(t.querySelector(".unit"), unit);
}

function showTiles(now, then, { stalls }) {
	const all = requests(now, then), errors = requests(now, then, broken), s = f.seconds(now, then);
	const lag = f.gained(now, then, "offloop_loop_lag_seconds");
	const load = loopsOf(now, then).map(l => l.load).filter(v => v !== null);
	const away = turnedAway(now, then), held = heldLoops(stalls);
	const p99 = f.atMost(lag, 0.99);

	tile("rate", f.short(all.count / s));
	tile("p50", f.time(f.atMost(all, 0.5)));
	tile("p99", f.time(f.atMost(all, 0.99)));
	tile("errors", f.short(errors.count / s), errors.count > 0 ? "bad" : "");
	tile("away", f.short(away), away > 0 ? "warn" : "");
	tile("flight", f.short(f.total(now, "offloop_loop_requests_in_flight")), "",
		`on ${f.short(f.total(now, "offloop_loop_connections"))} connections`);
	tile("load", load.length ? f.percent(Math.max(...load)) : f.NONE, load.some(v => v > 0.9) ? "warn" : "");
	if (held.length)
		tile("lag", f.time(Math.max(...held.map(h => h.ms)) / 1000), "bad",
			held.length === 1 ? "held right now" : `${held.length} held right now`);
	else
		tile("lag", f.time(p99), p99 && p99.value > 0.01 ? "warn" : "", "99th percentile");
}

/* ---- charts ---- */

const charts = {};

function makeCharts() {
	const perSecond = v => f.short(v), seconds = v => f.time(v);
	charts.rate = new Chart(byId("chart-rate"), [
		{ name: "async", colour: "--async" }, { name: "sync", colour: "--sync" },
		{ name: "other", colour: "--other" }], perSecond, { least: 1 });
	charts.latency = new Chart(byId("chart-latency"), [
		{ name: "async p99", colour: "--async" }, { name: "p50", full: "async p50", colour: "--async", dashed: true },
		{ name: "sync p99", colour: "--sync" }, { name: "p50", full: "sync p50", colour: "--sync", dashed: true }],
	seconds, { floor: 0.00005, least: 0.1 });
	charts.load = new Chart(byId("chart-load"), [
		{ name: "busiest", colour: "--async" }, { name: "mean", colour: "--async", dashed: true }],
	f.percent, { max: 1.02 });
	charts.lag = new Chart(byId("chart-lag"), [
		{ name: "longest, at most", colour: "--alarm" }, { name: "p99", colour: "--async" }],
	seconds, { floor: 0.00005, least: 0.1 });
	byId("no-charts").hidden = drawn;
	byId("licence").hidden = !drawn;
}

function showCharts(now, then, { stalls }) {
	const date = new Date();
	const lanes = LANES.map(lane => requests(now, then, labels => labels.lane === lane));
	const other = requests(now, then, labels => !LANES.includes(labels.lane));      /* of no route */
	const value = q => (q ? q.value : null);
	const load = loopsOf(now, then).map(l => l.load).filter(v => v !== null);
	const lag = f.gained(now, then, "offloop_loop_lag_seconds");
	charts.rate.add(date, [...lanes, other].map(hist => hist.count / f.seconds(now, then)));
	charts.latency.add(date, lanes.flatMap(hist => [value(f.quantile(hist, 0.99)), value(f.quantile(hist, 0.5))]));
	charts.load.add(date, load.length ? [Math.max(...load), load.reduce((a, b) => a + b) / load.length] : [null, null]);
	charts.lag.add(date, [longestLag(lag, stalls), value(f.quantile(lag, 0.99))]);
}

/* ---- advice ---- */

function adviceParts(a) {
	const subject = a.name || [a.method, a.route].filter(Boolean).join(" ") || (a.pool ? `pool ${a.pool}` : "");
	return [subject, a.evidence ? `${a.evidence}:` : a.text || "", a.remedy || ""];
}

function showAdvice(advice) {
	const items = Array.isArray(advice) ? advice.map(adviceParts) : [];
	byId("advice").classList.toggle("none", !items.length);
	if (!items.length)
		items.push(["", advice === null ? "This server gives no advice." :
			"None: nothing that was measured calls for a change.", ""]);
	keyed(byId("advice-list"), items, item => item[0] + item[2], () => {
		const line = element("li");
		line.append(element("b", "subject"), element("span", "evidence"), element("strong", "remedy"));
		return line;
	}, (line, item) => [...line.children].forEach((child, i) => put(child, item[i])));
}

/* ---- pools ---- */

const pools = new Map();        /* name -> PoolCard */

class Sizer {
	constructor(card, row, value) {
		this.card = card;
		this.key = row.dataset.size;
		[this.range, this.number] = row.querySelectorAll("input");
		this.most = Number(this.number.max);
		this.editing = false;
		const label = row.querySelector("label"), id = `${this.key}-${card.name}`;
		this.number.id = id;
		label.htmlFor = id;
		this.range.setAttribute("aria-label", `${label.textContent} of pool ${card.name}`);
		this.follow(value);
		for (const input of [this.range, this.number]) {
			input.addEventListener("input", () => this.edit(input));
			input.addEventListener("change", () => this.settle());
			input.addEventListener("blur", () => this.settle());
			input.addEventListener("keydown", e => { if (e.key === "Escape") this.cancel(); });
		}
	}

	/* The slider reaches four times as far as what is set, so that small pools can be set finely. */
	follow(value) {
		this.value = value;
		if (this.editing)
			return;
		if (!(value <= Number(this.range.max) * 0.75 && this.range.hasAttribute("max")))
			this.range.max = Math.min(this.most, Math.max(this.key === "queue" ? 256 : 32, 2 ** Math.ceil(Math.log2(value * 4))));
		if (Number(this.range.value) !== value)
			this.range.value = value;
		if (Number(this.number.value) !== value)
			this.number.value = value;
	}

	edit(input) {
		this.editing = true;
		clearTimeout(this.timer);
		(input === this.range ? this.number : this.range).value = input.value;
	}

	/* An arrow key held down is many changes: the last one counts. */
	settle() {
		if (!this.editing)
			return;
		clearTimeout(this.timer);
		this.timer = setTimeout(() => this.send(), 150);
	}

	cancel() {
		clearTimeout(this.timer);
		this.editing = false;
		this.follow(this.value);
		this.card.say("");
	}

	async send() {
		const wanted = Number(this.number.value);
		if (!this.number.checkValidity() || !Number.isInteger(wanted) || this.number.value === "") {
			this.card.say(`${this.key}: from 1 to ${this.most}`, true);
			return;
		}
		this.editing = false;
		if (wanted === this.value)
			return;
		await this.card.resize(this.key, wanted);
	}
}

class PoolCard {
	constructor(told) {
		this.name = told.name;
		this.node = byId("pool-template").content.firstElementChild.cloneNode(true);
		put(this.node.querySelector("h3"), told.name);
		put(this.node.querySelector("figcaption"), `Pool ${told.name}`);
		this.node.querySelector("form").addEventListener("submit", e => e.preventDefault());
		this.sizers = {};
		for (const row of this.node.querySelectorAll(".sizer"))
			this.sizers[row.dataset.size] = new Sizer(this, row, told[row.dataset.size === "threads" ? "limit" : "queue"]);
		if (told.fixed) {
			for (const row of this.node.querySelectorAll(".sizer"))
				row.hidden = true;
			this.say(`${told.limit} thread${told.limit === 1 ? "" : "s"}: ${told.fixed}`);
		}
		this.chart = new Chart(this.node.querySelector("figure"), [
			{ name: "running", colour: "--sync" }, { name: "waiting", colour: "--alarm" },
			{ name: "threads", colour: "--other", dashed: true }], v => f.short(v), { steps: true, least: 4 });
		this.facts = {};
		for (const [key, name] of [["state", "Threads"], ["queued", "Waiting"], ["wait", "Wait, p99"], ["run", "Run, p99"],
			["done", "Done"], ["rejected", "Turned away"]]) {
			const box = element("div"), value = element("dd", "", f.NONE);
			box.append(element("dt", "", name), value);
			this.node.querySelector(".facts").append(box);
			this.facts[key] = value;
		}
	}

	say(text, bad) {
		const line = this.node.querySelector(".said");
		put(line, text);
		line.classList.toggle("bad", Boolean(bad));
	}

	async resize(key, value) {
		try {
			await fetchText(`/pools/${encodeURIComponent(this.name)}`, {
				method: "PATCH",
				headers: { "Content-Type": "application/json" },
				body: JSON.stringify({ [key]: value }),
			});
			changes++;
			this.sizers[key].value = value;
			this.say(`${key} set to ${value} at ${f.clock(new Date())}`);
		} catch (error) {
			this.say(`${key} not set: ${error.message}`, true);
			this.sizers[key].follow(this.sizers[key].value);
		}
		tick();
	}

	show(told, now, then) {
		const mine = labels => labels.pool === this.name;
		const wait = f.gained(now, then, "offloop_pool_queue_wait_seconds", mine);
		const run = f.gained(now, then, "offloop_pool_run_seconds", mine);
		const full = told.running >= told.limit && told.queued > 0;
		const rejected = f.rate(now, then, "offloop_pool_rejected_total", { pool: this.name });

		this.sizers.threads.follow(told.limit);
		this.sizers.queue.follow(told.queue);
		put(this.facts.state, [[told.running, "busy"], [told.blocked, "blocked"], [told.idle, "idle"],
			[told.starting, "starting"]].filter(([n, name]) => n || name === "busy").map(part => part.join(" ")).join(", "));
		put(this.facts.queued, f.short(told.queued) + (told.overloaded ? ", overloaded" :
			told.oldest_queued_seconds >= 0.01 ? `, oldest ${f.time(told.oldest_queued_seconds)}` : ""));
		put(this.facts.wait, f.time(f.atMost(wait, 0.99)));
		put(this.facts.run, f.time(f.atMost(run, 0.99)));
		put(this.facts.done, `${f.short(run.count / f.seconds(now, then))} /s`);
		put(this.facts.rejected, rejected === null ? f.NONE : `${f.short(rejected)} /s`);
		this.facts.queued.dataset.grade = full || told.overloaded ? "warn" : "";
		this.facts.rejected.dataset.grade = rejected > 0 ? "bad" : "";
	}

	sample(told) {
		this.chart.add(new Date(), [told.running, told.queued, told.limit]);
	}
}

/* Of pools, or a process, that are no more. */
function dropCards(cards) {
	for (const card of cards) {
		card.chart.remove();
		card.node.remove();
		pools.delete(card.name);
	}
}

function showPools(told, now, then) {
	const names = new Set((told || []).map(p => p.name));
	dropCards([...pools.values()].filter(card => !names.has(card.name)));
	for (const p of told || []) {
		if (!pools.has(p.name))
			pools.set(p.name, new PoolCard(p));
		pools.get(p.name).show(p, now, then);
	}
	byId("pools").parentElement.hidden = Boolean(told) && told.length === 0;        /* a model without pools */
	keyed(byId("pools"), told || [], p => p.name, p => pools.get(p.name).node, () => {});
	for (const p of told || [])
		pools.get(p.name).sample(p);
}

/* ---- tables ---- */

/* columns: [{key, name, title, text(row), value(row), grade(row), words}]; rows have a key. */
class Table {
	constructor(table, columns, sorted) {
		this.columns = columns;
		this.sorted = sorted;
		this.down = true;
		this.order = [];
		this.orderedAt = -Infinity;
		const head = element("tr");
		this.heads = columns.map(c => {
			const th = element("th", c.words ? "words" : ""), button = element("button", "", c.name);
			th.scope = "col";
			button.type = "button";
			if (c.title)
				button.title = c.title;
			button.addEventListener("click", () => this.sortBy(c));
			th.append(button);
			head.append(th);
			return th;
		});
		const thead = element("thead");
		thead.append(head);
		this.body = element("tbody");
		table.append(thead, this.body);
		this.mark();
	}

	sortBy(column) {
		this.down = this.sorted === column.key ? !this.down : !column.words;
		this.sorted = column.key;
		this.orderedAt = -Infinity;
		this.mark();
		this.show(this.rows || []);
	}

	mark() {
		this.columns.forEach((c, i) => this.heads[i].setAttribute("aria-sort",
			c.key === this.sorted ? (this.down ? "descending" : "ascending") : "none"));
	}

	compare(a, b) {
		const value = this.columns.find(c => c.key === this.sorted).value;
		const x = value(a) ?? -1, y = value(b) ?? -1;
		const less = x < y ? -1 : x > y ? 1 : 0;
		return (this.down ? -less : less) || (a.key < b.key ? -1 : 1);
	}

	/* Rows change places every few seconds at most, and not while one is pointed at. */
	show(rows) {
		this.rows = rows;
		const now = performance.now();
		if (now - this.orderedAt >= RESORT && !this.body.matches(":hover")) {
			this.order = [...rows].sort((a, b) => this.compare(a, b)).map(row => row.key);
			this.orderedAt = now;
		}
		const place = new Map(this.order.map((key, i) => [key, i]));
		const at = row => place.get(row.key) ?? this.order.length;
		keyed(this.body, [...rows].sort((a, b) => at(a) - at(b)), row => row.key, () => this.make(), (tr, row) =>
			this.columns.forEach((c, i) => {
				put(tr.children[i], c.text(row));
				tr.children[i].dataset.grade = c.grade ? c.grade(row) || "" : "";
			}));
	}

	make() {
		const tr = element("tr");
		this.columns.forEach((c, i) => {
			const cell = element(i ? "td" : "th", c.words ? "words" : "");
			if (!i)
				cell.scope = "row";
			cell.dataset.name = c.name;
			tr.append(cell);
		});
		return tr;
	}
}

const numbered = (key, name, text, title, grade) =>
	({ key, name, title, grade, text: row => text(row[key]), value: row => row[key] });
const timed = (key, name, title, grade) => ({ key, name, title, grade, text: row => f.time(row[key]),
	value: row => (row[key] ? row[key].value + (row[key].bound === ">" ? 1e-9 : 0) : null) });
const worded = (key, name) => ({ key, name, words: true, text: row => row[key], value: row => row[key] });

let loopTable, routeTable;

function makeTables() {
	loopTable = new Table(byId("loops"), [
		worded("loop", "Loop"),
		numbered("load", "Busy", f.percent, "share of the time it worked", row => (row.load > 0.9 ? "warn" : "")),
		timed("p50", "Lag, p50", "time it worked between two waits"), timed("p99", "p99"),
		timed("longest", "longest", "", row => (row.longest && row.longest.value > 0.01 ? "warn" : "")),
		numbered("connections", "Connections", f.short), numbered("flight", "In flight", f.short),
		numbered("fibers", "Fibers", f.short, "async handlers that have begun and not ended"),
	], "loop");
	loopTable.down = false;
	loopTable.mark();
	routeTable = new Table(byId("routes"), [
		worded("route", "Route"), worded("lane", "Lane"),
		numbered("rate", "Per second", f.short), timed("p50", "p50", "from a request's head to the end of its reply"),
		timed("p99", "p99", "from a request's head to the end of its reply"),
		numbered("errors", "5xx/s", f.short, "", row => (row.errors > 0 ? "bad" : "")),
		numbered("share", "Loop time", f.percent, "share of all loops' time that its code held them"),
		timed("hold", "Hold, p99", "how long its code holds a loop at a stretch",
			row => (row.hold && row.hold.value > 0.01 ? "warn" : "")),
		timed("holdLongest", "longest", "the longest hold of the last ten seconds"),
		numbered("stalls", "Stalls", f.short, "", row => (row.stalls > 0 ? "bad" : "")),
		numbered("victims", "Victims", f.short, "requests that waited behind a stall"),
	], "rate");
}

function loopsOf(now, then) {
	return (now.samples.get("offloop_loop_connections") || []).map(({ labels, value }) => ({
		key: labels.loop, loop: labels.loop, connections: value,
		load: f.share(now, then, "offloop_loop_busy_seconds_total", "offloop_loop_idle_seconds_total", { loop: labels.loop }),
		flight: f.total(now, "offloop_loop_requests_in_flight", { loop: labels.loop }),
		fibers: f.total(now, "offloop_loop_fibers", { loop: labels.loop }),
	}));
}

function showLoops(now, then) {
	loopTable.show(loopsOf(now, then).map(row => {
		const lag = f.gained(now, then, "offloop_loop_lag_seconds", labels => labels.loop === row.loop);
		return { ...row, key: row.loop.padStart(4, "0"), p50: f.atMost(lag, 0.5), p99: f.atMost(lag, 0.99),
			longest: f.longest(lag) };
	}));
}

/* The lane that the next request takes, and what may change that. */
function laneOf(r) {
	const more = [r.declared !== r.lane && r.declared, r.pinned && "pinned"].filter(Boolean);
	return [r.lane === "sync" && r.pool ? `sync (${r.pool})` : r.lane, ...more].join(", ");
}

/* One row a template, since holds and stalls are counted by template: its methods and lanes together. */
function templates(routes, now) {
	const found = new Map();
	for (const r of routes || []) {
		const row = found.get(r.route) || { key: r.route, methods: new Set(), lanes: new Set() };
		row.methods.add(r.method);
		row.lanes.add(laneOf(r));
		found.set(r.route, row);
	}
	for (const hist of (now.hists.get(DURATION) || new Map()).values())
		if (!found.has(hist.labels.route))
			found.set(hist.labels.route, { key: hist.labels.route, methods: new Set(), lanes: new Set() });
	return [...found.values()];
}

/* Routes that nobody has asked for yet are left out, unless the reader wants them. */
function inUse(now) {
	const asked = new Set();
	for (const name of [DURATION, "offloop_loop_hold_seconds"])
		for (const hist of (now.hists.get(name) || new Map()).values())
			asked.add(hist.labels.route);
	return asked;
}

function showRoutes(routes, now, then) {
	const s = f.seconds(now, then), loops = Math.max(1, loopsOf(now, then).length);
	const all = templates(routes, now), asked = inUse(now), unused = all.filter(row => !asked.has(row.key)).length;
	put(byId("unused-count"), `the ${unused} that nobody has asked for`);
	byId("unused").parentElement.hidden = unused === 0;
	routeTable.show(all.filter(row => asked.has(row.key) || byId("unused").checked).map(({ key, methods, lanes }) => {
		const mine = labels => labels.route === key;
		const told = requests(now, then, mine), hold = f.gained(now, then, "offloop_loop_hold_seconds", mine);
		return {
			key, route: key === "none" ? "no route" : `${[...methods].join(", ")} ${key}`, lane: [...lanes].join(", "),
			rate: told.count / s, p50: f.atMost(told, 0.5), p99: f.atMost(told, 0.99),
			errors: requests(now, then, labels => mine(labels) && failed(labels)).count / s,
			share: hold.count ? hold.sum / s / loops : null, hold: f.atMost(hold, 0.99), holdLongest: f.longest(hold),
			stalls: f.total(now, "offloop_loop_stalls_total", { route: key }),
			victims: f.total(now, "offloop_loop_stall_victims_total", { route: key }),
		};
	}));
}

/* ---- all of it ---- */

function showAbout(now) {
	const [build] = now.samples.get("offloop_build_info") || [], [worker] = now.samples.get("offloop_worker_info") || [];
	const started = f.total(now, "process_start_time_seconds");
	put(byId("about"), [build ? `${build.labels.version} on ${build.labels.backend}` : "",
		worker ? `worker ${worker.labels.worker}` : "", location.host,
		started ? `up ${f.duration(Date.now() / 1000 - started)}` : ""].filter(Boolean).join(" · "));
}

function show(told) {
	const before = history[history.length - 1];
	remember(told.snap);
	const now = told.snap, then = history.length > 1 ? history[0] : null;
	showAbout(now);
	showStalls(told.stalls);
	showAdvice(told.advice);
	/* the first snapshot has nothing to be compared with: counters since the start are no rates */
	if (then) {
		showTiles(now, then, told);
		showCharts(now, before, told);
	}
	showPools(told.pools, now, then || now);
	showLoops(now, then || now);
	showRoutes(told.routes, now, then || now);
}

function setTheme(theme) {
	document.documentElement.dataset.theme = theme;
	for (const chart of [...Object.values(charts), ...[...pools.values()].map(card => card.chart)])
		chart.restyle();
}

function start() {
	const theme = byId("theme"), pause = byId("pause");
	try {
		theme.value = localStorage.getItem("theme") || "auto";
	} catch {
		theme.value = "auto";   /* storage may be forbidden; the choice is then not kept */
	}
	setTheme(theme.value);
	makeTiles();
	makeCharts();
	makeTables();
	byId("unused").addEventListener("change", tick);
	theme.addEventListener("change", () => {
		setTheme(theme.value);
		try {
			localStorage.setItem("theme", theme.value);
		} catch { /* as above */ }
	});
	matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTheme(theme.value));
	pause.addEventListener("click", () => {
		paused = !paused;
		pause.setAttribute("aria-pressed", String(paused));
		put(pause, paused ? "Go on" : "Pause");
		tick();
	});
	document.addEventListener("visibilitychange", () => {
		if (!document.hidden && !paused)
			tick();
	});
	tick();
}

start();
