import { Script } from 'node:vm'
import { describe, expect, it } from 'vitest'
import type { PlimsollError } from '../errors/plimsoll-error.ts'
import { capture } from './capture.ts'
import { rebuild, rebuildNow } from './rebuild.ts'

type AnyFunction = (...args: never[]) => unknown

/** A function from source text: what the test transformer would do to it does not happen. */
const fromText = (text: string): AnyFunction => new Script(`(${text})`).runInThisContext() as AnyFunction

async function run(fn: AnyFunction, ...args: unknown[]): Promise<unknown> {
  return (await rebuild(capture(fn).bytes))(...args)
}

function refusal(fn: AnyFunction): string {
  try {
    capture(fn)
    return 'captured'
  } catch (error) {
    expect((error as PlimsollError).code).toBe('CANNOT_CAPTURE')
    return (error as PlimsollError).message
  }
}

describe('functions of any shape', () => {
  const shapes: [text: string, args: unknown[], result: unknown][] = [
    ['(x) => x + 1', [1], 2],
    ['x => ({ x })', [1], { x: 1 }],
    ['async (x) => x * 2', [4], 8],
    ['async x => { await null; return x }', [4], 4],
    ['function (a, b) { return a - b }', [5, 3], 2],
    ['async function later(a) { return await a }', [5], 5],
    ['function () { return arguments.length }', [1, 2, 3], 3],
    ['function () { return this === undefined }', [], true],
    ['(a, { b, c: [d = 4] = [] } = { b: 2 }, ...rest) => [a, b, d, rest]', [1, undefined, 8, 9], [1, 2, 4, [8, 9]]],
    ['function fact(n) { return n < 2 ? 1 : n * fact(n - 1) }', [5], 120],
    ['(n) => { const inner = (k) => (k === 0 ? 0 : 1 + inner(k - 1)); return inner(n) }', [7], 7],
    [
      '(n) => { class Box { #v = n; static made = 0; get v() { Box.made++; return this.#v } } return new Box().v + Box.made }',
      [3],
      4,
    ],
    [
      '(n) => { class Base { m() { return n } } class Sub extends Base { m() { return super.m() + 1 } } return new Sub().m() }',
      [1],
      2,
    ],
    ['(x) => { const Math = { max: () => x }; return Math.max(1, 2) }', [42], 42],
    ['() => typeof window + typeof Deno', [], 'undefinedundefined'],
    ["() => (typeof window === 'undefined' ? 'node' : window.location)", [], 'node'],
    [
      '(rows) => { outer: for (const r of rows) { for (const c of r) { if (c > 2) continue outer; if (c < 0) break outer } } return rows.length }',
      [[[1], [3]]],
      2,
    ],
    ['(name) => `hello ${name}, ${[1, 2].map((i) => `${i}`).join()}`', ['you'], 'hello you, 1,2'],
    ['/* before */ (x /* first */) => { // why\n return x /* } */ }', [1], 1],
    ['(s) => s.replace(/[)}`]/g, "{")', ['a)'], 'a{'],
    ['(x) => { try { throw new Error(x) } catch ({ message }) { return message } }', ['m'], 'm'],
    ['(o) => o?.a?.b ?? "none"', [{}], 'none'],
    ['(x) => { var hoisted = early(); function early() { return x } return hoisted }', [6], 6],
    ['(x) => new Map([[x, structuredClone({ x })]]).get(x).x', [6], 6],
    ['() => Buffer.from("x").length + process.pid * 0 + new URL("a:b").href.length', [], 4],
    ['(x) => eval("x + 1")', [1], 2],
    ['function () { return new.target === undefined }', [], true],
  ]

  it('run the same after they were captured and rebuilt', async () => {
    for (const [text, args, result] of shapes) {
      expect(await run(fromText(text), ...args), text).toEqual(result)
    }
  })

  it('include methods, getters and static and private methods', async () => {
    const holder = fromText(`() => {
      const key = 'computed'
      class Tools { static twice(x) { return 2 * x } #half(x) { return x / 2 } half() { return this.#half } }
      return {
        plain(x) { return x + 1 }, async later(x) { return x + 2 }, get five() { return 5 }, ['a ' + key](x) { return x + 3 },
        'quoted'(x) { return x + 4 }, 7(x) { return x + 5 }, async(x) { return x + 6 }, get(x) { return x + 7 }, "__proto__"(x) { return x + 8 }, delete(x) { return x + 9 },
        twice: Tools.twice, half: new Tools().half(),
      }
    }`)() as Record<string, AnyFunction>
    const method = (name: string): AnyFunction => Object.getOwnPropertyDescriptor(holder, name)?.value as AnyFunction
    for (const [name, result] of [
      ['plain', 2],
      ['later', 3],
      ['a computed', 4],
      ['quoted', 5],
      ['7', 6],
      ['async', 7],
      ['get', 8],
      ['__proto__', 9],
      ['delete', 10],
      ['twice', 2],
      ['half', 0.5],
    ] as const) {
      expect(await run(method(name), 1), name).toBe(result)
      expect((await rebuild(capture(method(name)).bytes)).name).toBe(method(name).name)
    }
    const getter = Reflect.get(Object.getOwnPropertyDescriptor(holder, 'five') ?? {}, 'get') as AnyFunction
    expect(await run(getter)).toBe(5)
    expect(capture(getter).name).toBe('get five')
  })

  it('include generators, whose results are for the encoder to judge', async () => {
    const generator = (await run(
      fromText('function* (n) { for (let i = 0; i < n; i++) yield i }'),
      3,
    )) as Iterable<number>
    expect([...generator]).toEqual([0, 1, 2])
    const asyncGenerator = (await run(fromText('({ async *m() { yield 1 } }).m'))) as AsyncIterable<number>
    for await (const item of asyncGenerator) expect(item).toBe(1)
  })

  it('include sloppy ones that strict mode does not allow', async () => {
    expect(await run(fromText('function (n) { return n + 010 }'), 1)).toBe(9)
    expect(refusal(fromText('function (o) { with (o) { return inside } }'))).toContain('"inside"')
  })

  it('keep their names', async () => {
    const score = (x: number): number => x
    expect(capture(score).name).toBe('score')
    expect((await rebuild(capture(score).bytes)).name).toBe('score')
    expect(capture(fromText('x => x')).name).toBe('anonymous')
  })

  it('may call themselves by the variable that they were assigned to', async () => {
    const fact = fromText('(() => { const fact = (n) => (n < 2 ? 1 : n * fact(n - 1)); return fact })()')
    expect(await run(fact, 5)).toBe(120)
    const method = fromText('({ fact(n) { return fact(n - 1) } }).fact')
    expect(refusal(method)).toContain('"fact" uses "fact"')
  })
})

describe('what a function takes from its surroundings', () => {
  it('is refused by name, with what to do', () => {
    const score = fromText('(() => { const factor = 2; const score = (x) => x * factor; return score })()')
    expect(refusal(score)).toBe(
      'function "score" uses "factor" from its surroundings, which is not sent to workers yet: pass it as an argument, or use fromModule(url, "score")',
    )
    const total = fromText('(() => { const total = (x) => alpha(x) + beta[x] + (gamma = 1); return total })()')
    expect(refusal(total)).toBe(
      'function "total" uses "alpha", "beta" and "gamma" from its surroundings, which are not sent to workers yet: pass them as arguments, or use fromModule(url, "total")',
    )
    expect(() => capture(total)).toThrow(
      expect.objectContaining({ fields: { name: 'total', variables: ['alpha', 'beta', 'gamma'] } }),
    )
  })

  it('is found wherever it hides', () => {
    const hidden = [
      '(x = outside) => x',
      '({ [outside]: y }) => y',
      '(x) => { { let inner = 1 } return outside }',
      '() => { class A extends outside {} }',
      '() => { class A { [outside]() {} } }',
      '() => { class A { field = outside } }',
      '() => `${outside}`',
      '() => outside`text`',
      '() => ({ outside })',
      '() => { outside++ }',
      '() => { for (outside of []) ; }',
      '() => { ({ a: outside } = {}) }',
      '() => { try {} catch { outside() } }',
      '() => () => async () => outside',
      '() => typeof outside',
      '() => { { function inner() {} } { let outside2 = 1 } return outside }',
      '() => import(outside)',
      '() => outside.a.b',
      '() => { with_ = 1; return outside }',
    ]
    for (const text of hidden) expect(refusal(fromText(text)), text).toContain('"outside"')
  })

  it('does not include globals, labels, property names or shadowed names', () => {
    const fine = [
      '(o) => o.outside',
      '() => ({ outside: 1 })',
      '() => { outside: for (;;) break outside }',
      '(outside) => outside',
      '() => { var outside = 1; return () => outside }',
      '() => [Math, JSON, fetch, setTimeout, console, process, Buffer, globalThis, Float64Array, undefined, NaN, crypto, AbortSignal, performance]',
      'function outside() { return outside }',
      '() => { class outside { m() { return outside } } }',
      '(({ a: outside }) => outside)',
      '() => { try {} catch (outside) { return outside } }',
    ]
    for (const text of fine) expect(refusal(fromText(text)), text).toBe('captured')
  })

  it('includes globals that only this program has', () => {
    ;(globalThis as Record<string, unknown>)['madeHere'] = 1
    try {
      expect(refusal(fromText('() => madeHere'))).toContain('"madeHere"')
    } finally {
      delete (globalThis as Record<string, unknown>)['madeHere']
    }
  })

  it('includes this, super, new.target, arguments and private members', () => {
    expect(refusal(fromText('() => this.x'))).toContain('uses "this" from its surroundings')
    expect(refusal(fromText('() => { const f = () => this; return f }'))).toContain('"this"')
    expect(refusal(fromText('() => function () { return this }'))).toBe('captured')
    expect(refusal(fromText('() => class { a = this }'))).toBe('captured')
    expect(refusal(fromText('(function () { return () => new.target })()'))).toContain('cannot be parsed')
    expect(refusal(fromText('(function () { return () => arguments })()'))).toContain('(...args) =>')
    expect(refusal(fromText('({ m() { return super.m() } }).m'))).toContain('super')
    expect(refusal(fromText('({ m() { return class extends Object { k() { return super.toString() } } } }).m'))).toBe(
      'captured',
    )
    const secret = fromText(
      'class { #s = 1; static leak() { return new this().m } m() { return this.#s } }',
    ) as unknown as { leak(): AnyFunction }
    expect(refusal(secret.leak())).toContain('private member')
  })

  it('includes what a module provides, with the way to import it', () => {
    const load = fromText("function load() { return require('fs') }")
    expect(refusal(load)).toContain("await import('node:fs/promises')")
    expect(refusal(fromText('() => (0, __vite_ssr_import_3__.readFileSync)("x")'))).toContain('inside of it')
    expect(refusal(fromText('() => import_node_fs.readFileSync("x")'))).toContain('inside of it')
    expect(refusal(fromText('() => _interopRequireDefault(x)'))).toContain('inside of it')
    expect(refusal(fromText('function here() { return __dirname }'))).toContain('pass the path')
    const meta = Object.assign(() => 1, { toString: () => 'ignored' })
    expect(refusal(meta)).toBe('captured')
  })

  it('includes import.meta', async () => {
    const url = 'data:text/javascript,export const here = () => import.meta.url'
    const module = (await import(url)) as {
      here: AnyFunction
    }
    expect(refusal(module.here)).toBe(
      'function "here" uses import.meta, which is not sent to workers: pass the URL as an argument, or use fromModule(import.meta.url, "here")',
    )
  })
})

describe('what is no function with a source text', () => {
  it('is refused with the way out', () => {
    expect(refusal(Math.max as AnyFunction)).toContain('(...args) => Math.max(...args)')
    expect(refusal(parseInt as AnyFunction)).toContain('(...args) => parseInt(...args)')
    expect(refusal(((x: number) => x).bind(null) as AnyFunction)).toContain('bind()')
    expect(refusal(class Point {} as unknown as AnyFunction)).toContain('"Point" is a class')
    expect(refusal(new Proxy(() => 1, {}) as AnyFunction)).toContain('no source text')
    expect(refusal(5 as unknown as AnyFunction)).toContain('type number')
    expect(refusal(undefined as unknown as AnyFunction)).toContain('type undefined')
  })
})

describe('helpers of bundlers', () => {
  it('have definitions of their own', async () => {
    expect(await run(fromText('() => { const f = __name((x) => x, "given"); return f.name }'))).toBe('given')
    expect(await run(fromText('(a) => __spreadArray(__spreadArray([], a, true), [3], false)'), [1, 2])).toEqual([
      1, 2, 3,
    ])
    expect(await run(fromText('(a) => __assign({ x: 1 }, a)'), { y: 2 })).toEqual({ x: 1, y: 2 })
    expect(await run(fromText('(a) => __rest(a, ["x"])'), { x: 1, y: 2 })).toEqual({ y: 2 })
    expect(await run(fromText('(a) => __spreadProps(__spreadValues({}, a), { z: 3 })'), { x: 1 })).toEqual({
      x: 1,
      z: 3,
    })
    expect(
      await run(fromText('(a) => { class A { constructor() { __publicField(this, "v", a) } } return new A().v }'), 4),
    ).toBe(4)
    expect(await run(fromText('(x) => { cov_1a2b().f[0]++; cov_1a2b().b[1][0]++; return x }'), 4)).toBe(4)
  })

  it('written by the transformer of these tests do not get in the way', async () => {
    expect(await run(async () => typeof (await import('node:os')).cpus)).toBe('function')
    expect(await run((x: number) => [x].map((y) => y + 1), 1)).toEqual([2])
  })
})

describe('dynamic import', () => {
  it('finds packages and node: modules from where the program was started', async () => {
    expect(await run(fromText("async () => (await import('node:path')).basename('/a/b')"))).toBe('b')
    expect(await run(fromText("async () => typeof (await import('acorn')).parse"))).toBe('function')
    expect(
      await run(fromText("async () => (await import('./package.json', { with: { type: 'json' } })).default.name")),
    ).toBe('plimsoll')
  })
})

describe('a captured function', () => {
  it('is captured once, and has one id for one text', () => {
    const make = (): AnyFunction => (x: number) => x + 1
    const [one, two] = [make(), make()]
    expect(capture(one)).toBe(capture(one))
    expect(capture(one).id).toBe(capture(two).id)
    expect(capture(one).id).toMatch(/^[0-9a-f]{32}$/)
    expect(capture((x: number) => x + 2).id).not.toBe(capture(one).id)
  })

  it('is kept by text in bounded numbers', () => {
    for (let i = 0; i < 1200; i++) capture(fromText(`(x) => x + ${i}`))
    expect(capture(fromText('(x) => x + 5')).id).toBe(capture(fromText('(x) => x + 5')).id)
  })

  it('can be rebuilt at once', () => {
    expect(rebuildNow(capture((x: number) => x + 1).bytes)?.(1)).toBe(2)
  })

  it('that is damaged is refused', async () => {
    const { bytes } = capture((x: number) => x)
    await expect(rebuild(bytes.subarray(1))).rejects.toMatchObject({ code: 'CANNOT_CAPTURE' })
    await expect(rebuild(Buffer.from('{"kind":"source"}'))).rejects.toMatchObject({ code: 'CANNOT_CAPTURE' })
    await expect(rebuild(Buffer.from('null'))).rejects.toMatchObject({ code: 'CANNOT_CAPTURE' })
    const broken = { ...(JSON.parse(Buffer.from(bytes).toString()) as object), expression: '(x) =>' }
    await expect(rebuild(Buffer.from(JSON.stringify(broken)))).rejects.toMatchObject({
      code: 'CANNOT_CAPTURE',
      message: expect.stringContaining('cannot be compiled'),
    })
  })

  it('shows its name in stacks', async () => {
    const explode = fromText('(() => { const explode = () => { throw new Error("boom") }; return explode })()')
    await expect(run(explode)).rejects.toMatchObject({ stack: expect.stringContaining('plimsoll-function-explode.js') })
  })
})
