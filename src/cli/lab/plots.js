/* plots.js: bars, and marks on a logarithmic axis, as SVG.
 *
 * A plot has a row for each subject: its name and its figures as text on one line, and below it what is drawn.  All
 * places across are percentages of the plot's width, so it needs no redrawing when the page, or the paper, is narrower.
 * Who has no figure has a word in its place and nothing drawn: not measured is not zero.
 *
 * What a plot says is also its aria-label, and stands in a table beside it.
 */
const SVG = "http://www.w3.org/2000/svg";
const ROW = 34, LINE = 13, BAR = 10, AXIS = 36, NAME_MAX = 20;

function svg(name, attributes, text) {
	const e = document.createElementNS(SVG, name);
	for (const [key, value] of Object.entries(attributes))
		e.setAttribute(key, value);
	if (text !== undefined)
		e.textContent = text;
	return e;
}

function percent(part) {
	return `${(100 * part).toFixed(3)}%`;
}

/* 1, 2 or 5 times a power of ten, at least v. */
function round125(v) {
	const power = 10 ** Math.floor(Math.log10(v));
	return [1, 2, 5, 10].map(f => f * power).find(step => step >= v * (1 - 1e-9));
}

/* From zero: where a value is (0 to 1), and the ticks. */
function linear(values) {
	const most = Math.max(0, ...values), step = most > 0 ? round125(most / 4) : 1;
	const end = Math.max(step, Math.ceil(most / step - 1e-9) * step);
	const ticks = [];
	for (let i = 0; i * step <= end * (1 + 1e-9); i++)
		ticks.push(i * step);
	return { at: v => v / end, ticks };
}

/* Powers of ten, with room at both ends for half a mark. */
function logarithmic(values) {
	const seen = values.filter(v => v > 0), margin = 0.02;
	const low = Math.floor(Math.log10(seen.length ? Math.min(...seen) : 1) + 1e-9);
	const high = Math.max(low + 1, Math.ceil(Math.log10(seen.length ? Math.max(...seen) : 10) - 1e-9));
	const at = v => margin + (1 - 2 * margin) * (Math.log10(Math.max(v, 10 ** low)) - low) / (high - low);
	return { at, ticks: Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i)) };
}

function shorten(name) {
	return name.length > NAME_MAX ? `${name.slice(0, NAME_MAX - 1)}…` : name;
}

/* The plot without its rows' drawings: grid, ticks, unit, and each row's line of text. */
function frame(rows, scale, unit, tickText, label) {
	const height = rows.length * ROW + AXIS, bottom = rows.length * ROW + 2;
	const plot = svg("svg", { width: "100%", height, role: "img", "aria-label": label });
	const shown = scale.ticks.length > 6 ? scale.ticks.filter((_, i) => i % 2 === 0) : scale.ticks;

	for (const tick of shown) {
		const at = scale.at(tick), x = percent(at);
		plot.append(svg("line", { class: at === 0 ? "base" : "grid", x1: x, x2: x, y1: 0, y2: bottom }),
			svg("text", { class: "tick", x, y: bottom + 14,
				"text-anchor": at < 0.03 ? "start" : at > 0.97 ? "end" : "middle" }, tickText(tick)));
	}
	plot.append(svg("text", { class: "unit", x: "50%", y: bottom + 29, "text-anchor": "middle" }, unit));
	rows.forEach((row, i) => {
		plot.append(svg("text", { class: "name", x: 3, y: i * ROW + LINE }, shorten(row.name)),
			svg("text", { class: row.absent ? "missing" : "value", x: "100%", y: i * ROW + LINE,
				"text-anchor": "end" }, row.absent || row.text));
	});
	return plot;
}

function describe(title, rows) {
	return `${title}: ${rows.map(row => `${row.name} ${row.absent || row.text}`).join("; ")}.`;
}

function figure(title, hint, legend, plot) {
	const e = document.createElement("figure"), caption = document.createElement("figcaption");
	const quiet = document.createElement("span");
	quiet.className = "hint";
	quiet.textContent = ` ${hint}`;
	caption.append(title, quiet);
	e.append(caption);
	if (legend)
		e.append(legend);
	e.append(plot);
	return e;
}

function whisker(plot, scale, y, half, low, high) {
	const from = percent(scale.at(low)), to = percent(scale.at(high));
	plot.append(svg("line", { class: "whisker", x1: from, x2: to, y1: y, y2: y }),
		svg("line", { class: "whisker", x1: from, x2: from, y1: y - half, y2: y + half }),
		svg("line", { class: "whisker", x1: to, x2: to, y1: y - half, y2: y + half }));
}

/* rows: [{name, kind, text, absent} and, where not absent, {value, low, high}]; low and high may be missing. */
function bars(key, title, hint, unit, rows, tickText) {
	const there = rows.filter(row => !row.absent);
	const scale = linear(there.flatMap(row => [row.value, row.high ?? row.value]));
	const plot = frame(rows, scale, unit, tickText, describe(title, rows));

	plot.dataset.plot = key;
	rows.forEach((row, i) => {
		if (row.absent)
			return;
		const y = i * ROW + LINE + 5;
		const bar = svg("rect", { class: `bar ${row.kind}`, x: 0, y, width: percent(scale.at(row.value)), height: BAR });
		bar.dataset.subject = row.name;
		bar.dataset.value = row.value;
		plot.append(bar);
		if (row.high > row.low)
			whisker(plot, scale, y + BAR / 2, 4, row.low, row.high);
	});
	return figure(title, hint, null, plot);
}

/* Each percentile has a form of its own, so colour need not tell them apart. */
const FORMS = [
	["M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z", ""],
	["M-4.5 -4.5h9v9h-9z", ""],
	["M0 -6l6 6l-6 6l-6 -6z", ""],
	["M-4 -4h8v8h-8z", " open"],
	["M-1.5 -6h3v12h-3z", ""],
];

function mark(form, kind, x, y) {
	const [path, open] = FORMS[form];
	const place = svg("svg", { x, y, overflow: "visible", width: 1, height: 1 });
	place.append(svg("path", { class: `mark ${kind}${open}`, d: path }));
	return place;
}

function legendOf(names) {
	const list = document.createElement("ul");
	list.className = "legend";
	list.setAttribute("aria-hidden", "true");
	names.forEach((name, i) => {
		const item = document.createElement("li"), picture = svg("svg", { width: 14, height: 14 });
		picture.append(mark(form(names, i), "any", 7, 7));
		item.append(picture, name);
		list.append(item);
	});
	return list;
}

/* Two percentiles are p50 and p99, five are all of them. */
function form(names, i) {
	return names.length === 2 ? i * 2 : i;
}

/* rows: [{name, kind, text, absent} and, where not absent, {values: one for each of names, or null}]; low and high, which
 * may be missing, are drawn below the marks. */
function marks(key, title, hint, unit, names, rows, tickText) {
	const there = rows.filter(row => !row.absent);
	const scale = logarithmic(there.flatMap(row => [...row.values, row.low, row.high]).filter(Number.isFinite));
	const plot = frame(rows, scale, unit, tickText, describe(title, rows));

	plot.dataset.plot = key;
	rows.forEach((row, i) => {
		if (row.absent)
			return;
		const y = i * ROW + LINE + 5 + BAR / 2, known = row.values.filter(v => v !== null);
		plot.append(svg("line", { class: `range ${row.kind}`, x1: percent(scale.at(Math.min(...known))),
			x2: percent(scale.at(Math.max(...known))), y1: y, y2: y }));
		row.values.forEach((value, nth) => {
			if (value === null)
				return;
			const m = mark(form(names, nth), row.kind, percent(scale.at(value)), y);
			m.dataset.subject = row.name;
			m.dataset.percentile = names[nth];
			m.dataset.value = value;
			plot.append(m);
		});
		if (row.high > row.low)
			whisker(plot, scale, y + 8, 2, row.low, row.high);
	});
	return figure(title, hint, legendOf(names), plot);
}
