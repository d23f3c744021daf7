"use strict";
// The forward pass, as in engine/: what `backprop` computes, from the same weights, for a page without a server.

const ACTIVATIONS = {
  identity: z => z,
  sigmoid: z => 1 / (1 + Math.exp(-z)),
  tanh: Math.tanh,
  relu: z => Math.max(0, z),
  leaky_relu: z => (z > 0 ? z : 0.01 * z),
  elu: z => (z > 0 ? z : Math.expm1(z)),
  gelu: z => 0.5 * z * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3))),
  silu: z => z / (1 + Math.exp(-z)),
  softplus: z => Math.max(0, z) + Math.log1p(Math.exp(-Math.abs(z))),
};

const sum = numbers => numbers.reduce((total, x) => total + x, 0);

/** What the output units say of logits. */
function outputs(logits, kind) {
  if (kind === "sigmoid") return logits.map(ACTIVATIONS.sigmoid);
  const top = Math.max(...logits), powers = logits.map(z => Math.exp(z - top)), total = sum(powers);
  return powers.map(power => power / total);
}

/** One dense layer: inputs @ weight + bias; `table` is both, row by row, the bias as the last row. */
function dense(inputs, table, units) {
  const z = Array.from(table.subarray(inputs.length * units, (inputs.length + 1) * units));
  inputs.forEach((x, i) => {
    if (x) for (let j = 0; j < units; j++) z[j] += x * table[i * units + j];
  });
  return z;
}

/** The activations of every layer of one network; of the last, its logits. */
function layersOf(network, params, ink) {
  let values = ink.map((x, i) => (x - network.mean[i]) / network.scale), start = 0;
  return network.layers.map(({ units, activation }) => {
    const end = start + (values.length + 1) * units;
    values = dense(values, params.subarray(start, end), units).map(ACTIVATIONS[activation]);
    start = end;
    return values;
  });
}

/** What all networks together make of a picture: ink from 0 to 1, row by row. */
function forward(network, ink) {
  const members = network.members.map(params => layersOf(network, params, ink));
  const answers = members.map(layers => {
    const said = outputs(layers.at(-1).map(z => z / network.temperature), network.output), total = sum(said);
    return said.map(o => o / Math.max(total, 1e-38));
  });
  return { members, probabilities: answers[0].map((_, k) => sum(answers.map(answer => answer[k])) / answers.length) };
}

const floats = text => new Float32Array(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
const unpacked = net => ({ ...net, mean: floats(net.mean), members: net.members.map(floats) });
