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

  const describe = (schema) => {
    const limits = [];
    if (schema.minimum !== undefined) limits.push(`at least ${schema.minimum}`);
    if (schema.maximum !== undefined) limits.push(`at most ${schema.maximum}`);
    if (schema.default !== undefined) limits.push(`default ${JSON.stringify(schema.default)}`);
    return [schema.description, limits.join(", ")].filter(Boolean).join(": ");
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
    if (Array.isArray(schema.enum)) return makeSelect(schema.enum, current);
    if (schema.type === "boolean") return makeSelect([true, false], current);
    const input = document.createElement("input");
    const isNumber = schema.type === "integer" || schema.type === "number";
    if (!isNumber && schema.type !== "string") return null;
    input.type = isNumber ? "number" : "text";
    if (isNumber) {
      input.step = schema.multipleOf ?? (schema.type === "integer" ? 1 : "any");
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
    for (const [name, part] of Object.entries(parameters === null ? {} : (schema.properties ?? {}))) {
      const effective = { ...part, default: defaults[name] ?? part.default };
      const input = typeof part === "object" ? makeInput(effective, parameters[name]) : null;
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
