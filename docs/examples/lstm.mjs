// An LSTM with truncation and its backward pass for bpttcheck, in Node.js without a package:
//
//     bpttcheck verify "exec:node lstm.mjs"
//     bpttcheck xray "exec:node lstm.mjs" --strategy regular --tau 3
//
// a = W_hx x_t + b_hx + W_hh h_{t-1} + b_hh with rows in the order i, f, g, o; c_t = f c_{t-1} + i g;
// h_t = o tanh(c_t). What crosses the link into step t on the way back is multiplied by xi[t].

import { readSync, writeSync } from "node:fs";

const CAPABILITIES = {
  name: "lstm.mjs", cells: ["lstm"], dtypes: ["float32", "float64"], biases: 2, empty: true,
  inputs: ["dense", "initial"], outputs: ["y", "final"], gradients: ["x", "parameters", "initial"],
  truncations: ["regular", "links"],
};
const TYPES = { float32: Float32Array, float64: Float64Array };
const sigmoid = (a) => 1 / (1 + Math.exp(-a));
const times = (xi, a) => (xi === 0 ? 0 : xi * a); // 0 times infinity is not 0

let received = Buffer.alloc(0);

function read() { // whether there was more
  const piece = Buffer.alloc(65536);
  const count = readSync(0, piece);
  received = Buffer.concat([received, piece.subarray(0, count)]);
  return count > 0;
}

function take(size) {
  while (received.length < size) if (!read()) process.exit(1);
  const taken = received.subarray(0, size);
  received = received.subarray(size);
  return taken;
}

function takeLine() {
  while (!received.includes("\n")) if (!read()) process.exit(0);
  return JSON.parse(take(received.indexOf("\n") + 1));
}

function takeArrays(listed) {
  const arrays = {};
  for (const [name, dtype, shape] of listed) {
    const type = TYPES[dtype];
    const bytes = take(shape.reduce((a, b) => a * b, 1) * type.BYTES_PER_ELEMENT);
    arrays[name] = Float64Array.from(new type(new Uint8Array(bytes).buffer)); // a copy, at an even address
  }
  return arrays;
}

function send(header, listed = [], dtype = "float64") { // listed: [name, shape, numbers]
  const arrays = listed.map(([name, shape]) => [name, dtype, shape]);
  const pieces = [Buffer.from(JSON.stringify({ ...header, arrays }) + "\n")];
  for (const [, , numbers] of listed) pieces.push(Buffer.from(TYPES[dtype].from(numbers).buffer));
  for (let rest = Buffer.concat(pieces); rest.length; ) rest = rest.subarray(writeSync(1, rest));
}

function forward({ T, B, D, H }, { x, W_hx, W_hh, b_hx, b_hh, "initial.h": h0, "initial.c": c0 }) {
  const h = new Float64Array((T + 1) * B * H), c = new Float64Array((T + 1) * B * H);
  const gates = new Float64Array(T * B * 4 * H);
  h.set(h0), c.set(c0);
  for (let t = 0; t < T; t++) for (let b = 0; b < B; b++) {
    const before = (t * B + b) * H, after = before + B * H, g = 4 * before;
    for (let r = 0; r < 4 * H; r++) {
      let a = b_hx[r] + b_hh[r];
      for (let j = 0; j < D; j++) a += W_hx[r * D + j] * x[(t * B + b) * D + j];
      for (let j = 0; j < H; j++) a += W_hh[r * H + j] * h[before + j];
      gates[g + r] = Math.floor(r / H) === 2 ? Math.tanh(a) : sigmoid(a);
    }
    for (let k = 0; k < H; k++) {
      c[after + k] = gates[g + H + k] * c[before + k] + gates[g + k] * gates[g + 2 * H + k];
      h[after + k] = gates[g + 3 * H + k] * Math.tanh(c[after + k]);
    }
  }
  return { h, c, gates };
}

function backward({ T, B, D, H }, given, { h, c, gates }) {
  const { x, W_hx, W_hh, xi, "cotangent.y": dy } = given;
  const dh = given["cotangent.final.h"].slice(), dc = given["cotangent.final.c"].slice();
  const dx = new Float64Array(T * B * D), dW_hx = new Float64Array(4 * H * D);
  const dW_hh = new Float64Array(4 * H * H), db = new Float64Array(4 * H), da = new Float64Array(4 * H);
  for (let t = T - 1; t >= 0; t--) for (let b = 0; b < B; b++) {
    const before = (t * B + b) * H, after = before + B * H, g = 4 * before;
    for (let k = 0; k < H; k++) {
      const [i, f, u, o] = [0, H, 2 * H, 3 * H].map((gate) => gates[g + gate + k]);
      const s = Math.tanh(c[after + k]), up = dy[before + k] + dh[b * H + k];
      const down = dc[b * H + k] + up * o * (1 - s * s);
      da[k] = down * u * i * (1 - i);
      da[H + k] = down * c[before + k] * f * (1 - f);
      da[2 * H + k] = down * i * (1 - u * u);
      da[3 * H + k] = up * s * o * (1 - o);
      dc[b * H + k] = times(xi[t], down * f);
      dh[b * H + k] = 0;
    }
    for (let r = 0; r < 4 * H; r++) {
      db[r] += da[r];
      for (let j = 0; j < D; j++) {
        dW_hx[r * D + j] += da[r] * x[(t * B + b) * D + j];
        dx[(t * B + b) * D + j] += da[r] * W_hx[r * D + j];
      }
      for (let j = 0; j < H; j++) {
        dW_hh[r * H + j] += da[r] * h[before + j];
        dh[b * H + j] += times(xi[t], da[r] * W_hh[r * H + j]);
      }
    }
  }
  return { dx, dW_hx, dW_hh, db, dh, dc };
}

for (;;) {
  const request = takeLine();
  const { ask, dtype, T, B, D, H } = request;
  const given = takeArrays(request.arrays);
  if (ask === "capabilities") send(CAPABILITIES);
  else if (ask === "forward") {
    const { h, c } = forward(request, given), end = T * B * H;
    send({}, [["y", [T, B, H], h.subarray(B * H)], ["final.h", [B, H], h.subarray(end)],
      ["final.c", [B, H], c.subarray(end)]], dtype);
  } else if (ask === "pullback") {
    const { dx, dW_hx, dW_hh, db, dh, dc } = backward(request, given, forward(request, given));
    send({}, [["x", [T, B, D], dx], ["W_hx", [4 * H, D], dW_hx], ["W_hh", [4 * H, H], dW_hh], ["b_hx", [4 * H], db],
      ["b_hh", [4 * H], db], ["initial.h", [B, H], dh], ["initial.c", [B, H], dc]], dtype);
  } else send({ error: `lstm.mjs does not know the request ${ask}` });
}
