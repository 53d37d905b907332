/* app_node.js: the lab's endpoints for Node.  app_node.js PORT PROCESSES
 *
 * JavaScript has one thread a process and no blocking sleep to put on another, so what waits is a timer: that is how
 * waiting is written in Node.  What computes has nowhere to go but the loop.  /wrong50 holds the loop as a synchronous
 * call of a library would.
 */
"use strict";
const cluster = require("cluster");
const http = require("http");

const HELLO = "Hello, World!\n";
const BIG = Buffer.alloc(1 << 20);
const held = new Int32Array(new SharedArrayBuffer(4));

function rounds(n) {
	let x = 2463534242;
	for (let i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >>> 17;
		x ^= x << 5;
	}
	return x >>> 0;
}

/* As many rounds as the best of several short runs did in a millisecond of this process's CPU time, since the other
 * subjects start on the same CPUs; the first runs are the compiler's to warm. */
function inAMillisecond() {
	const n = 200000;
	let best = Infinity;
	for (let i = 0; i < 50; i++) {
		const start = process.cpuUsage();
		rounds(n);
		const used = process.cpuUsage(start);
		best = Math.min(best, Math.max(1, used.user + used.system) / 1000);
	}
	return Math.max(1, Math.round(n / best));
}

function text(res, body) {
	res.writeHead(200, { "Content-Type": "text/plain", "Content-Length": Buffer.byteLength(body) });
	res.end(body);
}

function count(req, res) {
	let n = 0;
	req.on("data", piece => { n += piece.length; });
	req.on("end", () => text(res, `${n} bytes\n`));
}

function serve(port) {
	const n = inAMillisecond();
	const endpoints = {
		"/big": res => text(res, BIG),
		"/upload": (res, req) => count(req, res),
		"/": res => text(res, HELLO),
		"/sync": res => text(res, HELLO),
		"/block10": res => setTimeout(text, 10, res, HELLO),
		"/block50": res => setTimeout(text, 50, res, HELLO),
		"/cpu": res => text(res, `${rounds(n)}\n`),
		"/wrong50": res => {
			Atomics.wait(held, 0, 0, 50);
			text(res, HELLO);
		},
		"/offload10": res => setTimeout(text, 10, res, HELLO),
		"/offload50": res => setTimeout(text, 50, res, HELLO),
	};
	const server = http.createServer((req, res) => {
		const endpoint = Object.hasOwn(endpoints, req.url) ? endpoints[req.url] : null;
		if (endpoint)
			return endpoint(res, req);
		res.writeHead(404);
		res.end();
	});
	server.keepAliveTimeout = 600000;
	server.listen({ port, host: "127.0.0.1", backlog: 4096 });
}

const port = Number(process.argv[2]), processes = Number(process.argv[3]);
if (processes > 1 && cluster.isPrimary)
	for (let i = 0; i < processes; i++)
		cluster.fork();
else
	serve(port);
