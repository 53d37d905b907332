/* report.js: the page from the JSON it carries.
 *
 * Everything shown is text of the report put in by textContent, never markup: names of programs, their versions and
 * their messages come from outside.  Nothing is asked of any server.  A figure that is not there is shown as "–", and a
 * cell that was not measured by the sentence that says why.
 */
const NONE = "–";
const STATUS = { cannot: "cannot", failed: "failed", missing: "not measured" };
const GRADES = { yes: ["yes", "● yes"], fair: ["fair", "◐ fair"], no: ["no", "○ no"] };
const byId = id => document.getElementById(id);

/* An element; of what is put into it strings become text, and null is left out. */
function element(name, className, ...inside) {
	const e = document.createElement(name);
	if (className)
		e.className = className;
	e.append(...inside.filter(part => part !== null && part !== undefined));
	return e;
}

/* ---- figures as text ---- */

function isNumber(v) {
	return typeof v === "number" && Number.isFinite(v);
}

function digits(v, n) {
	const fixed = v.toFixed(n);
	return n === 0 ? fixed.replace(/\B(?=(\d{3})+$)/g, ",") : fixed;
}

function count(v) {
	return digits(v, v < 100 && v % 1 > 0.05 ? 1 : 0);
}

function ms(v) {
	return digits(v, v < 0.1 ? 3 : v < 1 ? 2 : v < 10 ? 1 : 0);
}

function us(v) {
	return digits(v, v < 10 ? 2 : v < 100 ? 1 : 0);
}

function mb(kb) {
	return digits(kb / 1024, kb < 102400 ? 1 : 0);
}

function tick(v) {
	return v >= 1e6 ? `${v / 1e6}M` : v >= 10000 ? `${v / 1000}k` : String(Number(v.toPrecision(3)));
}

/* What columns and plots show: where it is in a cell's median, how it is written, its unit. */
const RPS = { key: "rps", head: "Requests/s", text: count };
const BUSY = [
	{ key: "cpus", head: "Server: CPUs busy", text: v => digits(v, 2) },
	{ key: "load_cpus", head: "Load: CPUs busy", text: v => digits(v, 2) },
];
const CPU = { key: "cpu_us", head: "CPU, µs a request", text: us };
const MEMORY = { key: "memory_kb", head: "Memory, MB", text: mb, scale: 1 / 1024 };     /* of the plot, to its unit */
const LATENCIES = [
	{ key: "p50_ms", name: "p50", head: "p50, ms", text: ms },
	{ key: "p90_ms", name: "p90", head: "p90, ms", text: ms },
	{ key: "p99_ms", name: "p99", head: "p99, ms", text: ms },
	{ key: "p999_ms", name: "p99.9", head: "p99.9, ms", text: ms },
	{ key: "max_ms", name: "max", head: "Max, ms", text: ms },
];
const FAST = [
	{ key: "fast.rps", head: "Fast: requests/s", text: count },
	{ key: "fast.p50_ms", name: "p50", head: "Fast: p50, ms", text: ms },
	{ key: "fast.p99_ms", name: "p99", head: "Fast: p99, ms", text: ms },
];
const IDLE = [
	{ key: "idle.held", head: "Idle connections held", text: count },
	{ key: "idle.bytes_each", head: "Bytes each", text: count },
];

/* The figure at "key" or "group.key"; null when there is none. */
function get(of, key) {
	const value = key.split(".").reduce((o, part) => (o && typeof o === "object" ? o[part] : null), of);
	return isNumber(value) ? value : null;
}

/* ---- the report ---- */

function rows(array) {
	return Array.isArray(array) ? array.filter(o => o && typeof o === "object") : [];
}

function text(value) {
	return value === null || value === undefined || value === "" ? NONE :
		value === true ? "yes" : value === false ? "no" : String(value);
}

class Report {
	constructor(json) {
		this.json = json;
		this.subjects = rows(json.subjects);
		this.workloads = rows(json.workloads);
		this.cells = new Map(rows(json.cells).map(c => [JSON.stringify([c.subject, c.workload]), c]));
		this.verdicts = new Map(rows(json.verdicts).map(v => [v.workload, v]));
	}

	cell(subject, workload) {
		return this.cells.get(JSON.stringify([subject.name, workload.name])) || { status: "absent" };
	}

	/* Who is measured there: a variant is where it differs from its model. */
	runners(workload) {
		return this.subjects.filter(s => !Array.isArray(s.workloads) || s.workloads.includes(workload.name));
	}

	verdict(workload) {
		return this.verdicts.get(workload.name) || {};
	}
}

function measured(cell) {
	return cell.status === "measured" && Boolean(cell.median);
}

/* Why it was not measured, in one word and in full. */
function word(cell) {
	return STATUS[cell.status] || "not measured";
}

function sentence(cell) {
	return cell.why ? `${word(cell)}: ${cell.why}` : word(cell);
}

/* From the lowest round to the highest, of those the median was made from; null when that is one. */
function spreadOf(cell, key) {
	const all = rows(cell.rounds), clean = all.filter(r => r.dirty !== true);
	const values = (clean.length ? clean : all).map(r => get(r, key)).filter(v => v !== null);
	const ends = [Math.min(...values), Math.max(...values)];
	return values.length > 1 && ends[0] < ends[1] ? ends : null;
}

/* A spread as text; null when there is none, or its ends read the same. */
function range(column, spread) {
	const [low, high] = (spread || []).map(column.text);
	return low === high ? null : `${low}–${high}`;
}

/* What an object of the verdict has of a subject; "" for nothing. */
function of(all, subject) {
	return all && Object.hasOwn(all, subject.name) ? String(all[subject.name]) : "";
}

/* A word with its mark, dashed where the verdict says that it is in doubt. */
function grade(verdict, subject) {
	const suits = of(verdict.suits, subject), doubt = of(verdict.doubt, subject);
	const [className, shown] = Object.hasOwn(GRADES, suits) ? GRADES[suits] : ["none", NONE];
	const star = namesOf(verdict.best).includes(subject.name) ? " ★" : "";
	const chip = element("span", `grade ${className}${doubt ? " doubt" : ""}`, shown + star + (doubt ? " ?" : ""));
	if (doubt)
		chip.title = `In doubt: ${doubt}.`;
	return chip;
}

/* Where a variant does not differ from its model. */
function same(subject) {
	const e = element("span", "grade none", "=");
	e.title = `as ${text(subject.as)}`;
	e.setAttribute("aria-label", e.title);
	return e;
}

/* ---- tables ---- */

/* A name that may go on in a new line behind each '+'. */
function breakable(name) {
	return text(name).split("+").flatMap((part, i) => i ? ["+", element("wbr", ""), part] : [part]);
}

function headRow(heads) {
	return element("thead", "", element("tr", "", ...heads.map(([name, number]) => {
		const th = element("th", number ? "number" : "", name);
		th.scope = "col";
		return th;
	})));
}

function rowHead(...inside) {
	const th = element("th", "", ...inside);
	th.scope = "row";
	return th;
}

function scrolling(table, label) {
	const region = element("div", "scroll", table);
	region.tabIndex = 0;
	region.setAttribute("role", "region");
	region.setAttribute("aria-label", label);
	return region;
}

function fillMatrix(report) {
	const body = element("tbody", "", ...report.workloads.map((workload, i) => {
		const verdict = report.verdict(workload), link = element("a", "", text(workload.name));
		link.href = `#workload-${i}`;
		return element("tr", "", rowHead(link), ...report.subjects.map(s => element("td", "",
			report.runners(workload).includes(s) ? grade(verdict, s) : same(s))));
	}));
	const heads = report.subjects.map((s, i) => {
		const link = element("a", "", ...breakable(s.name));
		link.href = `#subject-${i}`;
		link.title = text(s.what);
		return [link];
	});
	byId("matrix").append(headRow([["Workload"], ...heads]), body);
	byId("kinds").hidden = !report.subjects.some(s => s.kind === "peer");
	byId("same-mark").hidden = byId("same-said").hidden = !report.subjects.some(s => s.as);
	fillPairs("models", report.subjects.map(s => [text(s.name), s.what]));
}

function fillConclusion(report) {
	const lines = rows(report.json.conclusion);
	fillPairs("conclusion", lines.map(line => [text(line.for), line.text]));
	byId("conclusions").hidden = lines.length === 0;
}

/* What the grades mean, with the limits they were given by; nothing of a report that does not tell them. */
function fillLimits({ rate, left, p99_times: times, p99_more_ms: more, tail, failed, alike, alike_one: one, alike_ms: near,
	load_busy: busy, server_left: spare }) {
	const percent = part => `${digits(100 * part, 0)} %`;
	const rules = [
		`Rates: at least ${percent(rate.yes)} of the best one's is yes, at least ${percent(rate.fair)} fair. ` +
			`A p99 of over ${tail} times the best one's, with spreads that do not overlap, is only fair.`,
		"Where requests block, a server whose own wait by a timer has a grade, but no ★, and is not the best one that others " +
			"are compared with: no thread limits it, and a call that blocks could not be written so.",
		`Fast requests beside others (mixed, slow, wrong-lane) go by their p99: at most ${times.yes} times what the subject has ` +
			`in trivial, or ${more.yes} ms above it, is yes; ${times.fair} times or ${more.fair} ms is fair. Of its rate in ` +
			`trivial at least ${percent(left.yes)} must be left, ${percent(left.fair)} for fair. When trivial was not run the ` +
			"best one's p99 is what is compared, and the rate is not.",
		`Idle connections go by memory: at most ${digits(1 / rate.yes, 2)} times the least is yes, ${digits(1 / rate.fair, 2)} ` +
			`times fair. With less than ${percent(rate.fair)} of its rate in trivial left, and spreads that do not overlap, ` +
			"it is only fair.",
		`Requests that failed make it fair at best, over ${percent(failed)} of them no.`,
		`Not told apart are those whose spreads overlap, or who differ by less than ${percent(alike)}; of one clean round, by ` +
			`less than ${percent(one)}; p99s of fast requests by no more than ${near} ms. Ranks follow the medians: behind one ` +
			"who is set apart nobody has a ★.",
		`The load is one thread. Where that was busy for at least ${percent(busy)} of the time, and the server left ` +
			`${percent(spare)} of its CPUs or more, the load was the limit: the server can do more than stands here.`,
	];
	byId("limits").append(...rules.map(rule => element("li", "", rule)));
}

function namesOf(names) {
	return Array.isArray(names) ? names.map(String) : [];
}

function reasons(report, workload) {
	const verdict = report.verdict(workload);
	const table = element("table", "reasons", element("caption", "", "Verdict"),
		headRow([["Subject"], ["Suits"], ["Why"]]),
		element("tbody", "", ...report.runners(workload).map(s => {
			const known = verdict.reason && Object.hasOwn(verdict.reason, s.name);
			return element("tr", "", rowHead(...breakable(s.name)), element("td", "", grade(verdict, s)),
				element("td", "sentence", (known ? text(verdict.reason[s.name]) : sentence(report.cell(s, workload))) +
					(of(verdict.doubt, s) ? `; in doubt: ${of(verdict.doubt, s)}` : "")));
		})));
	return scrolling(table, `Verdict on ${workload.name}`);
}

function columnsOf(report, workload) {
	const medians = report.runners(workload).map(s => report.cell(s, workload)).filter(measured).map(c => c.median);
	const has = column => medians.some(m => get(m, column.key) !== null);
	return [...FAST, ...IDLE, RPS, ...LATENCIES, CPU, ...BUSY, workload.no_memory ? null : MEMORY].filter(c => c && has(c));
}

function figureCell(column, of, spread) {
	const value = get(of, column.key);
	return element("td", "number", value === null ? NONE : column.text(value),
		range(column, spread) ? element("span", "spread", range(column, spread)) : null);
}

function errorsOf(cell) {
	return rows(cell.rounds).reduce((n, round) => n + (get(round, "errors") || 0), 0);
}

function dirtyOf(cell) {
	const all = rows(cell.rounds), n = all.filter(round => round.dirty === true).length;
	return n ? `${all.length}, ${n} disturbed` : String(all.length);
}

function numberRow(report, subject, workload, columns) {
	const cell = report.cell(subject, workload), head = rowHead(...breakable(subject.name));
	if (!measured(cell)) {
		const said = element("td", "absent", sentence(cell));
		said.colSpan = columns.length + 2;
		return element("tr", "", head, said);
	}
	return element("tr", "", head, ...columns.map(c => figureCell(c, cell.median, spreadOf(cell, c.key))),
		element("td", "number", count(errorsOf(cell))), element("td", "number", dirtyOf(cell)));
}

function numbers(report, workload, columns) {
	const table = element("table", "numbers",
		element("caption", "", "Medians, and from the lowest round to the highest"),
		headRow([["Subject"], ...columns.map(c => [c.head, true]), ["Errors", true], ["Rounds", true]]),
		element("tbody", "", ...report.runners(workload).map(s => numberRow(report, s, workload, columns))));
	return scrolling(table, `Numbers of ${workload.name}`);
}

function eachRound(report, workload, columns) {
	const body = element("tbody", "");
	for (const subject of report.runners(workload))
		rows(report.cell(subject, workload).rounds).forEach((round, i) => body.append(element("tr", "",
			rowHead(...breakable(subject.name)), element("td", "number", String(i + 1)),
			...columns.map(c => figureCell(c, round)),
			...["requests", "errors"].map(key => figureCell({ key, text: count }, round)),
			figureCell({ key: "foreign", text: v => digits(v, 2) }, round),
			element("td", "", round.dirty === true ? "disturbed" : "clean"))));
	const table = element("table", "rounds", headRow([["Subject"], ["Round", true], ...columns.map(c => [c.head, true]),
		["Requests", true], ["Errors", true], ["Others' CPUs", true], ["Sample"]]), body);
	return element("details", "", element("summary", "", "Each round"), scrolling(table, `Rounds of ${workload.name}`));
}

/* ---- plots ---- */

function plotRow(report, subject, workload, fill) {
	const cell = report.cell(subject, workload);
	const row = { name: text(subject.name), kind: subject.kind === "peer" ? "peer" : "model", absent: null };
	if (!measured(cell))
		row.absent = word(cell);
	else if (!fill(row, cell))
		row.absent = "no figure";
	return row;
}

function plotBars(report, workload, column, title, hint, unit) {
	const scale = column.scale || 1;
	const all = report.runners(workload).map(subject => plotRow(report, subject, workload, (row, cell) => {
		const spread = spreadOf(cell, column.key), value = get(cell.median, column.key);
		if (value === null)
			return false;
		row.value = value * scale;
		row.text = column.text(value) + (range(column, spread) ? ` (${range(column, spread)})` : "");
		[row.low, row.high] = spread ? spread.map(v => v * scale) : [];
		return true;
	}));
	return bars(column.key, title, hint, unit, all, tick);
}

function plotMarks(report, workload, key, columns, title, hint) {
	const all = report.runners(workload).map(subject => plotRow(report, subject, workload, (row, cell) => {
		const p99 = columns.find(c => c.name === "p99");
		row.values = columns.map(c => get(cell.median, c.key));
		[row.low, row.high] = spreadOf(cell, p99.key) || [];
		row.text = columns.filter((c, i) => /^p(50|99)$/.test(c.name) && row.values[i] !== null)
			.map(c => `${c.name} ${c.text(get(cell.median, c.key))}`).join(", ") + " ms";
		return row.values.some(v => v !== null);
	}));
	return marks(key, title, hint, "milliseconds (logarithmic)", columns.map(c => c.name), all, tick);
}

function plots(report, workload, columns) {
	const cells = report.runners(workload).map(s => report.cell(s, workload)).filter(measured);
	const own = cells.some(c => get(c.median, "fast.rps") !== null && get(c.median, "fast.rps") !== get(c.median, "rps"));
	const all = [plotBars(report, workload, RPS, "Throughput", "more is better", "requests per second")];

	if (own)
		all.push(plotBars(report, workload, FAST[0], "Throughput of the fast requests", "more is better",
			"requests per second"));
	all.push(plotMarks(report, workload, "latency", LATENCIES, "Latency", "less is better; below: p99 by round"));
	if (own)
		all.push(plotMarks(report, workload, "fast.latency", FAST.slice(1), "Latency of the fast requests",
			"less is better; below: p99 by round"));
	all.push(plotBars(report, workload, CPU, "CPU", "less is better", "microseconds of CPU a request"));
	if (!workload.no_memory)
		all.push(plotBars(report, workload, MEMORY, "Memory", "less is better", "megabytes, all processes"));
	return columns.length ? element("div", "plots", ...all) : null;
}

/* ---- the page ---- */

function absences(report, workload) {
	const said = report.runners(workload).map(s => [s, report.cell(s, workload)]).filter(([, cell]) => !measured(cell));
	return said.length === 0 ? null : element("ul", "absences",
		...said.map(([s, cell]) => element("li", "", `${text(s.name)}: ${sentence(cell)}`)));
}

/* What those are asked for who offload: their handlers are other ones. */
function otherPaths(report, workload) {
	const asked = new Map();
	for (const s of report.runners(workload)) {
		const path = report.cell(s, workload).path;
		if (typeof path === "string" && path !== workload.measures)
			asked.set(path, [...(asked.get(path) || []), text(s.name)]);
	}
	return [...asked].map(([path, names]) => `${names.join(" and ")}: ${path}`);
}

function workloadSection(report, workload, i) {
	const verdict = report.verdict(workload), title = element("h2", "", text(workload.name));
	const columns = columnsOf(report, workload), best = namesOf(verdict.best);
	const load = [workload.measures, ...otherPaths(report, workload),
		isNumber(workload.connections) ? `${count(workload.connections)} connections` : null,
		isNumber(workload.beside) ? `${count(workload.beside)} beside them` : null,
		isNumber(workload.idle) ? `${count(workload.idle)} idle` : null].filter(Boolean).join("; ");
	const section = element("section", "workload", title, element("p", "", text(workload.what)),
		element("p", "quiet", load),
		element("p", "best", element("b", "", best.length ? "Best: " : "Nobody suits well: "), text(verdict.why)),
		workload.no_memory ? element("p", "quiet", text(workload.no_memory)) : null, absences(report, workload),
		plots(report, workload, columns), reasons(report, workload),
		columns.length ? numbers(report, workload, columns) : null,
		columns.length ? eachRound(report, workload, columns) : null);

	section.id = `workload-${i}`;
	title.id = `workload-${i}-title`;
	section.dataset.workload = workload.name;
	section.setAttribute("aria-labelledby", title.id);
	return section;
}

function subjectRow(s, i) {
	const kind = s.as ? `${text(s.kind)}, variant of ${text(s.as)}` : text(s.kind);
	const row = element("tr", "", rowHead(...breakable(s.name)), element("td", "", kind),
		element("td", "sentence", text(s.what)),
		element("td", "", s.installed === false ? `not installed${s.why ? `: ${s.why}` : ""}` : text(s.version)),
		element("td", "number", text(s.processes)), element("td", "", text(s.threads)),
		element("td", "sentence", element("code", "", text(s.command))));
	row.id = `subject-${i}`;
	return row;
}

function fillSubjects(report) {
	byId("subjects").append(
		headRow([["Subject"], ["Kind"], ["What it is"], ["Version"], ["Processes", true], ["Threads"], ["Command"]]),
		element("tbody", "", ...report.subjects.map(subjectRow)));
}

function fillPairs(id, pairs) {
	for (const [name, value] of pairs)
		if (value !== undefined && value !== null)
			byId(id).append(element("dt", "", name), element("dd", "", text(value)));
}

function idleOf({ idle, idle_asked: asked }) {
	return !isNumber(idle) ? null : idle < asked ? `${count(idle)} of the ${count(asked)} asked for` : count(idle);
}

function fillMachine(report) {
	const { version, started, command } = report.json, machine = report.json.machine || {}, plan = report.json.plan || {};
	const uring = machine.io_uring === false && machine.io_uring_why ? `no: ${machine.io_uring_why}` : machine.io_uring;

	fillPairs("machine", [["CPU", machine.cpu], ["CPUs", machine.cpus], ["CPU quota", machine.quota],
		["Kernel", machine.kernel], ["Architecture", machine.architecture],
		["Memory", isNumber(machine.memory_mb) ? `${count(machine.memory_mb)} MB` : null], ["io_uring", uring],
		["In a container", machine.container], ["Open files a process", machine.files]]);
	fillPairs("plan", [["offloop", version], ["Started", started],
		["Took", isNumber(report.json.seconds) ? `${count(report.json.seconds)} s` : null], ["Rounds", plan.rounds],
		["Time of a round", isNumber(plan.secs) ? `${plan.secs} s` : null], ["CPUs of the servers", plan.server_cpus],
		["CPUs of the load", plan.pinned === false ? "shared with the servers" : plan.load_cpus],
		["Idle connections", idleOf(plan)], ["Disturbed from", isNumber(plan.guard) ?
			`${plan.guard} CPUs used by other processes` : null]]);
	byId("command").textContent = text(command);
}

function plural(n, what) {
	return `${isNumber(n) ? count(n) : text(n)} ${what}${n === 1 ? "" : "s"}`;
}

function fillHead(report) {
	const machine = report.json.machine || {}, plan = report.json.plan || {};
	const contents = element("ul", "");

	byId("about").textContent = `${plural(report.subjects.length, "way")} to serve, ${plural(report.workloads.length, "workload")}, ` +
		`${plural(plan.rounds, "round")} of ${text(plan.secs)} s each, on ${plural(machine.cpus, "CPU")} (${text(machine.cpu)}), ` +
		`${text(report.json.started)}.`;
	if (report.json.stopped === true)
		byId("about").after(element("p", "note", "The run was stopped before its end."));
	const rounds = rows(report.json.cells).flatMap(cell => rows(cell.rounds));
	const dirty = rounds.filter(round => round.dirty === true).length;
	if (dirty)
		byId("about").after(element("p", "note", `Of ${plural(rounds.length, "round")} other processes disturbed ${count(dirty)}. ` +
			"Where there are clean ones the disturbed are left out; where there are none the grade has a ? and a dashed line."));
	for (const [i, workload] of report.workloads.entries()) {
		const link = element("a", "", text(workload.name));
		link.href = `#workload-${i}`;
		contents.append(element("li", "", link));
	}
	byId("contents").append(contents);
}

function offerDownload(source) {
	const url = URL.createObjectURL(new Blob([source], { type: "application/json" }));
	byId("download").href = url;
}

function show() {
	const source = byId("data").textContent, report = new Report(JSON.parse(source));

	fillHead(report);
	fillConclusion(report);
	fillMatrix(report);
	if (report.json.limits)
		fillLimits(report.json.limits);
	byId("workloads").append(...report.workloads.map((workload, i) => workloadSection(report, workload, i)));
	fillSubjects(report);
	fillMachine(report);
	offerDownload(source);
	addEventListener("beforeprint", () => {
		for (const details of document.querySelectorAll("details"))
			details.open = true;
	});
	document.documentElement.dataset.shown = "true";
}

try {
	show();
} catch (error) {
	byId("broken").textContent = `This report cannot be shown: ${error.message}`;
	byId("broken").hidden = false;
}
