// Makes fields from the chosen image model's JSON Schema, and keeps the JSON text below them in step.
// The text is what is sent; whatever the fields can't show stays in it and can be edited there.

const textarea = document.getElementById("id_parameters");
const modelSelect = document.getElementById("id_image_model");
const data = document.getElementById("model-schemas");

if (textarea && modelSelect && data) {
  const models = JSON.parse(data.textContent);
  const panel = document.createElement("div");
  panel.className = "mg-grid";
  panel.style.marginBottom = "0.75rem";
  const toggle = document.createElement("button");
  toggle.type = "button";
  toggle.className = "mg-link";
  toggle.style.cursor = "pointer";
  textarea.before(panel, toggle);

  const showText = (isShown) => {
    textarea.hidden = !isShown;
    toggle.textContent = isShown ? "Hide the JSON" : "Edit as JSON";
    toggle.setAttribute("aria-expanded", String(isShown));
  };
  toggle.addEventListener("click", () => showText(textarea.hidden));

  const readText = () => {
    try {
      const parsed = JSON.parse(textarea.value || "{}");
      return parsed && typeof parsed === "object" && !Array.isArray(parsed) ? parsed : null;
    } catch {
      return null;
    }
  };

  const write = (name, value) => {
    const parameters = readText() ?? {};
    if (value === undefined) delete parameters[name];
    else parameters[name] = value;
    textarea.value = JSON.stringify(parameters, null, 2);
  };

  // References lead to places in the same schema alone, and to no place that leads back: the server refuses others.
  const resolve = (part, root) => {
    if (!part || typeof part !== "object") return {};
    if (typeof part.$ref === "string") {
      const steps = part.$ref.startsWith("#/") ? part.$ref.slice(2).split("/") : [];
      const names = steps.map((step) => decodeURIComponent(step).replaceAll("~1", "/").replaceAll("~0", "~"));
      const target = names.reduce((node, name) => node?.[name], root);
      return { ...resolve(target, root), ...part, $ref: undefined };
    }
    const choices = part.anyOf ?? part.oneOf ?? part.allOf;
    const real = Array.isArray(choices) ? choices.filter((choice) => choice?.type !== "null") : [];
    if (real.length === 1) return { ...resolve(real[0], root), ...part, anyOf: undefined, oneOf: undefined, allOf: undefined };
    return part;
  };

  const typeOf = (schema) => {
    if (!Array.isArray(schema.type)) return schema.type;
    const real = schema.type.filter((name) => name !== "null");
    return real.length === 1 ? real[0] : undefined;
  };

  const describe = (schema) => {
    const limits = [];
    if (schema.minimum !== undefined) limits.push(`at least ${schema.minimum}`);
    if (schema.exclusiveMinimum !== undefined) limits.push(`more than ${schema.exclusiveMinimum}`);
    if (schema.maximum !== undefined) limits.push(`at most ${schema.maximum}`);
    if (schema.exclusiveMaximum !== undefined) limits.push(`less than ${schema.exclusiveMaximum}`);
    if (schema.maxLength !== undefined) limits.push(`at most ${schema.maxLength} characters`);
    if (schema.isRequired && schema.default === undefined) limits.push("required");
    if (schema.default !== undefined) limits.push(`default ${JSON.stringify(schema.default)}`);
    return [schema.description, limits.join(", ")].filter(Boolean).join(" · ");
  };

  const makeSelect = (options, current) => {
    const select = document.createElement("select");
    select.append(new Option("model's default", ""));
    options.forEach((option, index) => {
      const text = typeof option === "string" ? option : JSON.stringify(option);
      select.append(new Option(text, String(index), false, option === current));
    });
    select.read = () => (select.value === "" ? undefined : options[Number(select.value)]);
    return select;
  };

  const makeInput = (schema, current) => {
    const type = typeOf(schema);
    if (schema.const !== undefined) return makeSelect([schema.const], current);
    if (Array.isArray(schema.enum)) return makeSelect(schema.enum.filter((option) => option !== null), current);
    if (type === "boolean") return makeSelect([true, false], current);
    const input = document.createElement("input");
    const isNumber = type === "integer" || type === "number";
    if (!isNumber && type !== "string") return null;
    input.type = isNumber ? "number" : "text";
    if (isNumber) {
      input.step = schema.multipleOf ?? (type === "integer" ? 1 : "any");
      if (schema.minimum !== undefined) input.min = schema.minimum;
      if (schema.maximum !== undefined) input.max = schema.maximum;
    } else if (schema.maxLength !== undefined) {
      input.maxLength = schema.maxLength;
    }
    if (current !== undefined) input.value = current;
    input.placeholder = schema.default === undefined ? "" : String(schema.default);
    input.read = () => {
      if (input.value === "") return undefined;
      return isNumber ? Number(input.value) : input.value;
    };
    return input;
  };

  const draw = () => {
    const { schema = {}, defaults = {} } = models[modelSelect.value] ?? {};
    const parameters = readText();
    panel.replaceChildren();
    let nHidden = 0;
    if (parameters === null) nHidden = 1;
    for (const [name, given] of Object.entries(parameters === null ? {} : (schema.properties ?? {}))) {
      const part = resolve(given, schema);
      const isRequired = Array.isArray(schema.required) && schema.required.includes(name);
      const effective = { ...part, isRequired, default: defaults[name] ?? part.default };
      // A value that a field could not hold, such as null, is left to the text.
      const isShowable = parameters[name] === undefined || typeof parameters[name] !== "object";
      const input = isShowable ? makeInput(effective, parameters[name]) : null;
      if (!input) {
        nHidden += 1;
        continue;
      }
      input.className = "mg-input";
      input.addEventListener("change", () => write(name, input.read()));
      const label = document.createElement("label");
      label.className = "mg-field";
      const title = document.createElement("span");
      title.textContent = part.title ?? name;
      const help = document.createElement("small");
      help.className = "mg-muted";
      help.textContent = describe(effective);
      label.append(title, input, help);
      panel.append(label);
    }
    const known = new Set(Object.keys(schema.properties ?? {}));
    const hasUnknown = Object.keys(parameters ?? {}).some((name) => !known.has(name));
    const needsText = !panel.childElementCount || nHidden > 0 || hasUnknown;
    panel.hidden = !panel.childElementCount;
    toggle.hidden = needsText;
    showText(needsText);
  };

  textarea.addEventListener("change", () => {
    const wasShown = !textarea.hidden;
    draw();
    if (wasShown) showText(true);
  });
  modelSelect.addEventListener("change", draw);
  draw();
}
