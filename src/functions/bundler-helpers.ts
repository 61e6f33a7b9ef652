// What compilers and bundlers write into functions. Small pure helpers get a definition of their own, sent along with the
// function; references to what a function imports are refused with the name of the way out.

const DEFINITIONS: Readonly<Record<string, string>> = {
  // esbuild, tsx: keeps `fn.name`.
  __name: 'const __name = (target, value) => Object.defineProperty(target, "name", { value, configurable: true })',
  __publicField:
    'const __publicField = (target, key, value) => (Object.defineProperty(target, typeof key !== "symbol" ? key + "" : key, { value, writable: true, enumerable: true, configurable: true }), value)',
  __spreadValues: 'const __spreadValues = (target, source) => Object.assign(target, source)',
  __spreadProps:
    'const __spreadProps = (target, source) => Object.defineProperties(target, Object.getOwnPropertyDescriptors(source))',
  __objRest:
    'const __objRest = (source, exclude) => { const rest = {}; for (const key of Reflect.ownKeys(source)) if (!exclude.includes(key) && Object.prototype.propertyIsEnumerable.call(source, key)) rest[key] = source[key]; return rest }',
  // TypeScript, for old targets.
  __assign: 'const __assign = Object.assign',
  __rest:
    'const __rest = (source, exclude) => { const rest = {}; for (const key of Reflect.ownKeys(source)) if (!exclude.includes(key) && Object.prototype.propertyIsEnumerable.call(source, key)) rest[key] = source[key]; return rest }',
  __spreadArray: 'const __spreadArray = (to, from) => to.concat(Array.prototype.slice.call(from))',
  // Vitest: `import()` as its module runner sees it.
  __vite_ssr_dynamic_import__: 'const __vite_ssr_dynamic_import__ = (specifier) => import(specifier)',
}

/** Counters of coverage tools: counted nowhere, but they must not fail. */
const COVERAGE = /^(?:cov_[a-z0-9]+|__cov_.+|__coverage__)$/i
const coverageDefinition = (name: string): string =>
  `const ${name} = (() => { const sink = new Proxy(function () {}, { get: (_, key) => (key === Symbol.toPrimitive ? () => 0 : sink), set: () => true, apply: () => sink }); return sink })()`

/** A declaration of the helper; `undefined` for any other name. */
export function helperDefinition(name: string): string | undefined {
  if (Object.hasOwn(DEFINITIONS, name)) return DEFINITIONS[name]
  return COVERAGE.test(name) ? coverageDefinition(name) : undefined
}

const IMPORTED =
  /^(?:__vi(?:te_ssr)?_import_\d+__|import_[\w$]+|_interop\w*|__import\w*|__toESM|__toCommonJS|__webpack_\w+|.+__WEBPACK_IMPORTED_MODULE_\d+__.*)$/

/** True for names that stand for something the module of the function imports. */
export const isImportedName = (name: string): boolean => IMPORTED.test(name)
