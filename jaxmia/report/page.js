"use strict";
(() => {
  const source = document.getElementById("data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const root = document.documentElement;
  root.classList.add("scripted");
  const all = (what, within = document) => [...within.querySelectorAll(what)];
  const one = (what, within = document) => within.querySelector(what);
  const percent = (v, places = 2) => (100 * v).toFixed(places) + "\u00a0%";
  const tell = (name, words) => all(`[data-${name}]`).forEach((e) => (e.textContent = words));
  const tip = document.getElementById("tip");
  const svgNode = (name, attributes, parent) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    parent.append(node);
    return node;
  };

  // an axis: values to places in the drawing, and back
  const axis = (chart, letter) => {
    const [low, high, log, from, to] = chart.dataset[letter].split(",").map(Number);
    const f = log ? Math.log : (v) => v;
    return {
      at: (v) => from + ((f(Math.min(Math.max(v, low), high)) - f(low)) / (f(high) - f(low))) * (to - from),
      of: (p) => {
        const s = Math.min(1, Math.max(0, (p - from) / (to - from)));
        return log ? low * Math.pow(high / low, s) : low + s * (high - low);
      },
      from, to,
    };
  };
  const axes = (chart) => ({ x: axis(chart, "x"), y: axis(chart, "y") });
  const place = (chart, event) => {
    const box = chart.getBoundingClientRect(), view = chart.viewBox.baseVal;
    return [((event.clientX - box.left) / box.width) * view.width, ((event.clientY - box.top) / box.height) * view.height];
  };
  const showTip = (event, lines) => {
    tip.replaceChildren(...lines.map(([left, right], i) => {
      const row = document.createElement("div"), a = document.createElement(i ? "span" : "b"), b = document.createElement("span");
      a.textContent = left; b.textContent = right || "";
      row.append(a, b);
      return row;
    }));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(event.clientX + 16, innerWidth - box.width - 4)) + "px";
    tip.style.top = Math.max(4, event.clientY - box.height - 12) + "px";
  };
  const hideTip = () => (tip.hidden = true);

  // a curve, its row and its name in the legend belong together
  const choose = (key) => {
    root.classList.toggle("chosen", key !== null);
    all("[data-key]").forEach((e) => e.classList.toggle("on", e.dataset.key === key));
  };
  all("li[data-key], tr[data-key]").forEach((e) => {
    for (const kind of ["pointerenter", "focusin"]) e.addEventListener(kind, () => choose(e.dataset.key));
    for (const kind of ["pointerleave", "focusout"]) e.addEventListener(kind, () => choose(null));
  });

  // what the pointer reads off the ROC
  const roc = one("[data-chart=roc]");
  if (roc) {
    const { x, y } = axes(roc), cross = svgNode("line", { class: "cross", y1: y.from, y2: y.to, visibility: "hidden" }, roc);
    roc.addEventListener("pointermove", (event) => {
      const fpr = x.of(place(roc, event)[0]);
      let nearest = 0;
      data.grid.forEach((v, i) => {
        if (Math.abs(Math.log(v / fpr)) < Math.abs(Math.log(data.grid[nearest] / fpr))) nearest = i;
      });
      const at = x.at(data.grid[nearest]);
      cross.setAttribute("x1", at); cross.setAttribute("x2", at); cross.setAttribute("visibility", "visible");
      const best = data.attacks.map((a) => [a.name, a.grid[nearest]]).filter(([, v]) => v !== null).sort((a, b) => b[1] - a[1]);
      showTip(event, [["at " + +(100 * data.grid[nearest]).toPrecision(2) + " % false alarms", ""],
        ...best.slice(0, 8).map(([n, v]) => [n.slice(0, 40), percent(v)]),
        ...(best.length ? [] : [["too few non-members", ""]]),
        ...(best.length > 8 ? [["and " + (best.length - 8) + " more", ""]] : [])]);
    });
    roc.addEventListener("pointerleave", () => { hideTip(); cross.setAttribute("visibility", "hidden"); });
  }

  // every example as a point
  const memory = one("[data-chart=memory]"), cloud = data.cloud, aside = document.getElementById("example");
  let points = [], ring = null, now = data.start;
  const chance = (logit) => {
    const p = 1 / (1 + Math.exp(-logit));
    return p > 0.9999 ? "over 99.99 %" : p < 0.0001 ? "under 0.01 %" : percent(p);
  };
  const describe = (i) => [
    ["example " + cloud.id[i], cloud.label ? "label " + cloud.label[i] : ""],
    ["found in", cloud.found[now][i] + " of " + cloud.models[i]],
    ["its label, without it", chance(cloud.out[i])],
    ["trained on it", chance(cloud.in[i])],
  ];
  const point = (i) => {
    if (!ring || i < 0 || !points[i]) return;
    ring.setAttribute("cx", points[i][0]); ring.setAttribute("cy", points[i][1]); ring.setAttribute("visibility", "visible");
    const list = document.createElement("dl");
    for (const [left, right] of describe(i)) {
      const dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = left; dd.textContent = right;
      list.append(dt, dd);
    }
    const uri = data.pictures[cloud.id[i]], parts = [list];
    if (uri) {
      const image = new Image();
      image.src = uri; image.alt = "Example " + cloud.id[i];
      parts.unshift(image);
    }
    aside.replaceChildren(...parts);
  };
  if (memory && cloud) {
    const { x, y } = axes(memory);
    points = cloud.id.map((_, i) => (cloud.out[i] === null || cloud.in[i] === null ? null : [x.at(cloud.out[i]), y.at(cloud.in[i])]));
    ring = svgNode("circle", { class: "ring", r: 6, visibility: "hidden" }, memory);
    memory.addEventListener("pointermove", (event) => {
      const [px, py] = place(memory, event);
      let best = -1, least = 14 * 14;
      points.forEach((p, i) => {
        const d = p ? (p[0] - px) ** 2 + (p[1] - py) ** 2 : Infinity;
        if (d < least) { least = d; best = i; }
      });
      if (best < 0) return hideTip();
      point(best);
      showTip(event, describe(best));
    });
    memory.addEventListener("pointerleave", hideTip);
  }
  const follow = (e) => {
    const go = () => cloud && point(cloud.id.indexOf(+e.dataset.example));
    e.addEventListener("pointerenter", go);
    e.addEventListener("focus", go);
  };

  // the slider: everything that depends on the allowed false alarms
  const marks = all("[data-chart=roc], [data-chart=roc-linear]").map((chart) => {
    const { x, y } = axes(chart), group = svgNode("g", {}, chart);
    return { x, y, line: svgNode("line", { class: "level", y1: y.from, y2: y.to }, group),
      dots: data.attacks.slice(0, 6).map((_, i) => svgNode("circle", { r: 4 }, svgNode("g", { class: "dots s" + i }, group))) };
  });
  const area = (chart, heights) => {
    const { x, y } = axes(chart), edges = [-0.1, ...Array.from({ length: 11 }, (_, i) => i / 10)];
    let d = `M${x.at(edges[0])} ${y.at(0)}`;
    heights.forEach((h, i) => (d += `L${x.at(edges[i])} ${y.at(h)}L${x.at(edges[i + 1])} ${y.at(h)}`));
    d += `L${x.at(1)} ${y.at(0)}`;
    all(".series path", chart).forEach((p) => p.setAttribute("d", d));
  };
  const cell = (row, words, bold) => {
    const td = document.createElement("td");
    td.textContent = words;
    if (bold) td.classList.add("b");
    row.append(td);
  };
  const update = () => {
    const f = data.levels[now], lead = data.attacks[0], step = data.steps[now];
    for (const key in step) tell(key, step[key]);
    tell("tpr", percent(lead.tpr[now]));
    if (data.half) tell("half", percent(data.half[now], 1));
    slider.setAttribute("aria-valuetext", step.words);
    for (const { x, y, line, dots } of marks) {
      line.setAttribute("x1", x.at(f)); line.setAttribute("x2", x.at(f));
      dots.forEach((dot, i) => { dot.setAttribute("cx", x.at(f)); dot.setAttribute("cy", y.at(data.attacks[i].tpr[now])); dot.setAttribute("visibility", data.attacks[i].low[now] === null ? "hidden" : "visible"); });
    }
    all("#attacks tr[data-key]").forEach((row) => {
      const a = data.attacks[+row.dataset.key], td = one("[data-moving]", row);
      if (!td) return;
      td.dataset.value = a.tpr[now];
      one("b", td).textContent = percent(a.tpr[now]);
      one("small", td).textContent = a.low[now] === null ? a.blank || step.blank : (100 * a.low[now]).toFixed(2) + "–" + percent(a.high[now]);
    });
    const most = one("#most tbody");
    if (most) {
      const posterior = all("#most thead th").length > 7;
      most.replaceChildren(...data.exposed[now].map(([id, label, finds, models, alarms, others, p], i) => {
        const row = document.createElement("tr");
        row.dataset.example = id;
        [i + 1, id, label, finds, models, percent(finds / models, 0), `${alarms} of ${others}`].forEach((w) => cell(row, w));
        if (posterior) cell(row, p === null ? "–" : p.toFixed(3));
        follow(row);
        return row;
      }));
    }
    const gallery = document.getElementById("gallery");
    if (gallery) {
      const rows = data.exposed[now].filter(([id]) => data.pictures[id]).slice(0, 12);
      gallery.replaceChildren(...rows.map(([id, label, finds, models]) => {
        const item = document.createElement("li"), image = new Image(), words = document.createElement("span"), b = document.createElement("b");
        item.dataset.example = id;
        image.src = data.pictures[id]; image.alt = `Example ${id}, label ${label}`;
        b.textContent = label;
        words.append(b, ` in ${finds} of ${models}`);
        item.append(image, words);
        follow(item);
        return item;
      }));
    }
    const histogram = one("[data-chart=exposure]");
    if (histogram) area(histogram, data.histogram[now]);
    const classes = one("[data-chart=classes]");
    if (classes && data.classes) {
      const { x } = axes(classes), c = data.classes[now];
      all("circle", classes).forEach((dot, i) => dot.setAttribute("cx", x.at(c.share[i])));
      all(".whisker", classes).forEach((w, i) => { w.setAttribute("x1", x.at(c.low[i])); w.setAttribute("x2", x.at(c.high[i])); });
    }
    if (memory && cloud) {
      const paths = { cold: "", warm: "", hot: "" };
      points.forEach((p, i) => {
        if (!p) return;
        const share = cloud.models[i] ? cloud.found[now][i] / cloud.models[i] : 0;
        paths[share === 0 ? "cold" : share < 0.5 ? "warm" : "hot"] += `M${p[0].toFixed(1)} ${p[1].toFixed(1)}h0`;
      });
      for (const kind in paths) {
        const group = one(".dots." + kind, memory);
        if (!group) continue;
        const old = one("path", group);
        if (old) old.setAttribute("d", paths[kind]);
        else {
          group.replaceChildren();
          svgNode("path", { class: "cloud", "stroke-width": kind === "cold" ? 4.4 : 6, d: paths[kind] }, group);
        }
      }
    }
    const key = one("#attacks th[aria-sort] button");
    if (key && key.dataset.moving) key.onclick(null, true);
  };

  // tables that sort
  all("table.sortable").forEach((table) => {
    all("thead th", table).forEach((th, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...th.childNodes);
      if (one("[data-level]", button)) button.dataset.moving = "1";
      th.append(button);
      button.onclick = (_, again) => {
        const was = th.getAttribute("aria-sort");
        const up = again ? was === "ascending" : was ? was === "descending" : column === 0;
        all("th", table.tHead).forEach((other) => other.removeAttribute("aria-sort"));
        th.setAttribute("aria-sort", up ? "ascending" : "descending");
        const value = (row) => (column ? +(row.cells[column]?.dataset.value ?? -1) : row.cells[0].textContent);
        const rows = [...table.tBodies[0].rows].sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0));
        table.tBodies[0].append(...(up ? rows : rows.reverse()));
      };
    });
  });

  const slider = document.getElementById("level");
  slider.value = data.start;
  slider.addEventListener("input", () => { now = +slider.value; update(); });
  update();
  if (cloud && data.exposed && data.exposed[now].length) point(cloud.id.indexOf(data.exposed[now][0][0]));
})();
