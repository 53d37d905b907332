/* charts.js: figures over the last five minutes.
 *
 * A chart is a <figure> with a caption, a legend that tells each series' value, and a plot by dygraphs.  Where the library
 * was not built in (window.Dygraph is missing) a table of the same series stands in the plot's place.  The plot itself
 * says nothing that the legend does not: with the mouse, or the arrow keys when it has the focus, the legend goes back
 * in time; Escape, or leaving, brings it back to now.
 *
 * Memory is bounded: a chart keeps KEPT samples and forgets the oldest.
 */
import { clock, NONE } from "./figures.js";

export const drawn = typeof window.Dygraph === "function";
if (drawn)      /* its own legend, which is not shown, measures itself by an inline style, which the page's policy forbids */
	window.Dygraph.PLUGINS = window.Dygraph.PLUGINS.filter(plugin => plugin !== window.Dygraph.Plugins.Legend);

const WINDOW_MS = 300000;
const KEPT = 330;

function element(name, className, text) {
	const e = document.createElement(name);
	if (className)
		e.className = className;
	if (text !== undefined)
		e.textContent = text;
	return e;
}

function colour(name) {
	return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/* A value on an axis: "10 ms" rather than "10.0 ms". */
function rounded(text) {
	return text.replace(/(\.\d*?)0+(?!\d)/, "$1").replace(/\.(?!\d)/, "");
}

/* Whole minutes, none of which touches the other axis. */
function minutes(low, high, width) {
	const ticks = [], step = width < 340 ? 120000 : 60000;
	for (let t = Math.ceil((low + 20000) / step) * step; t <= high; t += step)
		ticks.push({ v: t, label: clock(new Date(t)).slice(0, 5) });
	return ticks;
}

/* Only powers of ten, for a logarithmic axis. */
function decades(low, high, format) {
	const ticks = [], last = Math.floor(Math.log10(high) + 1e-9);
	for (let e = Math.ceil(Math.log10(Math.max(low, 1e-9)) - 1e-9); e <= last; e++)
		ticks.push({ v: 10 ** e, label: rounded(format(10 ** e)) });
	return ticks;
}

export class Chart {
	/* series: [{name, full (its name by itself), colour (a custom property), dashed}]; format: a value as text; options:
	 * max (a fixed upper end), floor (makes it logarithmic, from there on up), least (the upper end is at least that),
	 * steps. */
	constructor(figure, series, format, options = {}) {
		this.figure = figure;
		this.series = series.map(s => ({ full: s.name, ...s }));
		this.format = format;
		this.options = options;
		this.rows = [];
		this.makeLegend();
		this.plot = element("div", "plot");
		figure.append(this.plot);
		if (drawn)
			this.makePlot();
		else
			this.makeTable();
	}

	makeLegend() {
		const legend = element("div", "legend");
		this.when = element("span", "when");
		this.figure.querySelector("figcaption").append(this.when);
		this.values = this.series.map(s => {
			const entry = element("span", "entry"), line = element("span", s.dashed ? "swatch dashed" : "swatch");
			const value = element("span", "value", NONE);
			line.style.borderColor = `var(${s.colour})`;
			entry.append(line, element("span", "", s.name), value);
			legend.append(entry);
			return value;
		});
		this.figure.append(legend);
	}

	/* ---- drawn ---- */

	makePlot() {
		this.plot.tabIndex = 0;
		this.plot.setAttribute("role", "img");
		this.plot.setAttribute("aria-label", this.figure.querySelector("figcaption").textContent +
			", the last five minutes; arrow keys go through them");
		this.canvas = element("div", "canvas");
		this.plot.append(this.canvas);
		this.plot.addEventListener("keydown", e => this.key(e));
		this.plot.addEventListener("blur", () => this.leave());
	}

	makeGraph() {
		this.graph = new window.Dygraph(this.canvas, this.rows, {
			labels: ["time", ...this.series.map(s => s.full)],
			interactionModel: {},
			resizable: "passive",
			stepPlot: Boolean(this.options.steps),
			connectSeparatedPoints: false,
			highlightCircleSize: 3,
			rightGap: 6,
			axisLabelFontSize: 11,
			logscale: Boolean(this.options.floor),
			highlightCallback: (_, x, points, row) => this.show(row),
			unhighlightCallback: () => this.leave(),
			axes: {
				x: { drawGrid: false, ticker: minutes },
				y: {
					axisLabelWidth: 52, pixelsPerLabel: this.options.steps ? 20 : 28, axisLabelFormatter: v => rounded(this.format(v)),
					...(this.options.floor ? { ticker: (a, b) => decades(a, b, this.format) } : {}),
				},
			},
			...this.look(),
			...this.range(),
		});
	}

	look() {
		const series = {};
		for (const s of this.series)
			series[s.full] = { strokePattern: s.dashed ? [4, 3] : null, strokeWidth: s.dashed ? 1 : 1.5 };
		return {
			colors: this.series.map(s => colour(s.colour)),
			gridLineWidth: 1,
			gridLineColor: colour("--grid"),
			axisLineColor: colour("--grid"),
			series,
		};
	}

	range() {
		const now = this.rows.length ? this.rows[this.rows.length - 1][0].getTime() : Date.now();
		let high = this.options.least || 0;
		for (const row of this.rows)
			for (let i = 1; i < row.length; i++)
				high = Math.max(high, row[i] || 0);
		const { max, floor } = this.options;
		return { dateWindow: [now - WINDOW_MS, now], valueRange: [floor || 0, max || high * (floor ? 1.6 : 1.12)] };
	}

	/* After the colours have changed. */
	restyle() {
		if (this.graph)
			this.graph.updateOptions(this.look());
	}

	key(event) {
		const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30 }[event.key];
		if (event.key === "Escape")
			this.leave();
		else if (step && this.graph) {
			const from = this.graph.getSelection() < 0 ? this.rows.length - 1 : this.graph.getSelection();
			const row = Math.min(this.rows.length - 1, Math.max(0, from + step));
			this.graph.setSelection(row);
			this.show(row);
		} else
			return;
		event.preventDefault();
	}

	show(row) {
		this.shown = this.rows[row];
		this.tell();
	}

	leave() {
		this.shown = null;
		if (this.graph)
			this.graph.clearSelection();
		this.tell();
	}

	/* ---- in words ---- */

	makeTable() {
		const table = element("table", "series"), head = element("tr");
		for (const text of ["", "now", "mean", "highest"])
			head.append(element("th", "", text));
		const thead = element("thead");
		thead.append(head);
		this.body = element("tbody");
		this.cells = this.series.map(s => {
			const row = element("tr"), name = element("th", "words", s.full);
			name.scope = "row";
			const cells = [0, 1, 2].map(() => element("td", "", NONE));
			row.append(name, ...cells);
			this.body.append(row);
			return cells;
		});
		table.append(thead, this.body);
		this.plot.append(table);
	}

	fillTable() {
		this.cells.forEach((cells, i) => {
			const known = this.rows.map(row => row[i + 1]).filter(v => v !== null);
			const last = this.rows[this.rows.length - 1][i + 1];
			const texts = known.length ? [last === null ? NONE : this.format(last),
				this.format(known.reduce((a, b) => a + b) / known.length), this.format(Math.max(...known))] :
				[NONE, NONE, NONE];
			cells.forEach((cell, j) => { cell.textContent = texts[j]; });
		});
	}

	tell() {
		const row = this.shown || this.rows[this.rows.length - 1];
		this.when.textContent = this.shown ? " at " + clock(this.shown[0]) : "";
		this.values.forEach((value, i) => {
			value.textContent = row && row[i + 1] !== null ? this.format(row[i + 1]) : NONE;
		});
	}

	/* One more sample; null is a gap. */
	add(date, values) {
		this.rows.push([date, ...values.map(v => (v === undefined ? null : v))]);
		while (this.rows.length > KEPT)
			this.rows.shift();
		if (!drawn)
			this.fillTable();
		else if (!this.graph)
			this.makeGraph();
		else {
			const selected = this.shown ? this.rows.indexOf(this.shown) : -1;
			this.graph.updateOptions({ file: this.rows, ...this.range() });
			if (selected >= 0)
				this.graph.setSelection(selected);
		}
		this.tell();
	}

	/* What was measured belongs to a process that is gone. */
	clear() {
		this.rows = [];
		this.leave();
	}

	remove() {
		if (this.graph)
			this.graph.destroy();
		this.figure.remove();
	}
}
