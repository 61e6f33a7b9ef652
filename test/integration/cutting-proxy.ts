// A TCP relay between a scheduler and everybody else that is a bad network: by a seed it decides for each connection how
// slow it is and how it ends. It sees bytes, not messages. Only TLS connections can be relayed: a plain one is bound to the
// very addresses of its two ends.

import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Prng } from '../../src/base/prng.ts'

export interface ProxyPlan {
  readonly seed: number
  /** Milliseconds that a connection lives at most. */
  readonly lifeMs: number
}

/** `reset`: RST to both ends. `finish`: FIN to both. `half`: FIN to one, nothing to the other. `silence`: nothing passes any more, then a reset. */
const ENDS = ['reset', 'reset', 'finish', 'half', 'silence'] as const
const SILENCE_MS = 1500

/** The two halves of a relayed connection. */
type Pair = readonly [near: Socket, far: Socket]

export class CuttingProxy {
  readonly cuts: Record<(typeof ENDS)[number], number> = { reset: 0, finish: 0, half: 0, silence: 0 }
  readonly #prng: Prng
  readonly #plan: ProxyPlan
  readonly #target: number
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #pairs = new Set<Pair>()
  #storm = false

  private constructor(target: number, plan: ProxyPlan) {
    this.#target = target
    this.#plan = plan
    this.#prng = new Prng(plan.seed)
    this.#server = createServer((socket) => this.#join(socket))
  }

  /** Relays a free port of the loopback interface to another one. */
  static async start(target: number, plan: ProxyPlan): Promise<CuttingProxy> {
    const proxy = new CuttingProxy(target, plan)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** From now on every connection ends, those that are open and those to come. */
  storm(): void {
    this.#storm = true
    for (const pair of this.#pairs) this.#doom(pair)
  }

  /** From now on connections live. */
  calm(): void {
    this.#storm = false
  }

  async close(): Promise<void> {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
    await once(this.#server, 'close')
  }

  #join(near: Socket): void {
    const far = connect({ host: '127.0.0.1', port: this.#target, noDelay: true })
    near.setNoDelay(true)
    const delayMs = this.#prng.next() < 0.3 ? this.#prng.int(20) : 0
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(from)
      from.on('error', () => to.destroy())
      from.on('close', () => {
        this.#sockets.delete(from)
        to.destroy()
      })
      void this.#pass(from, to, delayMs)
    }
    const pair = [near, far] as const
    this.#pairs.add(pair)
    near.on('close', () => this.#pairs.delete(pair))
    if (this.#storm) this.#doom(pair)
  }

  #doom(pair: Pair): void {
    const fate = this.#prng.pick(ENDS) as (typeof ENDS)[number]
    setTimeout(() => void this.#end(pair, fate), this.#prng.int(this.#plan.lifeMs)).unref()
  }

  async #pass(from: Socket, to: Socket, delayMs: number): Promise<void> {
    try {
      for await (const chunk of from) {
        if (delayMs > 0) await sleep(delayMs)
        if (!to.write(chunk as Buffer)) await Promise.race([once(to, 'drain'), once(to, 'close')])
      }
      to.end()
    } catch {
      to.destroy()
    }
  }

  async #end([near, far]: Pair, fate: (typeof ENDS)[number]): Promise<void> {
    if (!this.#storm || near.destroyed) return
    this.cuts[fate]++
    const [first, second] = this.#prng.next() < 0.5 ? [near, far] : [far, near]
    if (fate === 'finish') {
      near.end()
      far.end()
    } else if (fate === 'half') {
      first.end()
    } else if (fate === 'silence') {
      near.pause()
      far.pause()
      await sleep(this.#prng.int(SILENCE_MS))
    }
    if (fate === 'half') return
    await sleep(fate === 'finish' ? 100 : 0)
    first.resetAndDestroy()
    second.resetAndDestroy()
  }
}
