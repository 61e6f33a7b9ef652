// Stands between a scheduler and whoever connects to it, within one process, and cuts: by a seed it decides how many
// messages of a connection get through, and what happens to those that were on their way. Both ends believe that they talk
// to each other, since comms within a process prove nothing.

import { setImmediate as turn } from 'node:timers/promises'
import { Prng } from '../../src/base/prng.ts'
import { connect, listen, type Comm, type Credentials, type Listener } from '../../src/comm/index.ts'
import { PROTOCOL_VERSION } from '../../src/protocol/version.ts'

const NO_CREDENTIALS: Credentials = { token: null, tls: null, insecurePlaintext: false }

export interface RelayPlan {
  readonly seed: number
  /** Connections are cut after 1 to so many messages. */
  readonly messagesMax: number
  /** Cuts in all; connections made after that are left alone. */
  readonly cuts: number
  /** So many connections are left alone first; default 0. */
  readonly from?: number
}

export class CuttingRelay {
  cuts = 0
  #joined = 0
  readonly #prng: Prng
  readonly #plan: RelayPlan
  readonly #target: { readonly address: string; readonly id: string }
  readonly #open = new Set<() => void>()
  #listener!: Listener

  private constructor(target: { readonly address: string; readonly id: string }, plan: RelayPlan) {
    this.#target = target
    this.#plan = plan
    this.#prng = new Prng(plan.seed)
  }

  static async start(
    target: { readonly address: string; readonly id: string },
    plan: RelayPlan,
  ): Promise<CuttingRelay> {
    const relay = new CuttingRelay(target, plan)
    relay.#listener = await listen('inproc://', {
      role: 'scheduler',
      credentials: NO_CREDENTIALS,
      protocolVersion: PROTOCOL_VERSION,
      clusterId: target.id,
      onComm: (comm, { role }) => void relay.#join(comm, role),
    })
    return relay
  }

  get address(): string {
    return this.#listener.address
  }

  /** Cuts every connection that is open now. */
  cutAll(): void {
    for (const cut of this.#open) cut()
  }

  async close(): Promise<void> {
    await this.#listener.close()
  }

  async #join(near: Comm, role: string): Promise<void> {
    const far = await connect(this.#target.address, {
      role,
      credentials: NO_CREDENTIALS,
      protocolVersion: PROTOCOL_VERSION,
      timeoutMs: 1000,
    }).catch((error: unknown) => {
      near.abort(error as Error)
      return null
    })
    if (far === null) return
    const doomed = this.cuts < this.#plan.cuts && ++this.#joined > (this.#plan.from ?? 0)
    let left = doomed ? 1 + this.#prng.int(this.#plan.messagesMax) : Infinity
    let over = false
    const cut = (): void => {
      if (over) return
      over = true
      this.cuts++
      // One end may hear of it later than the other, and may say things meanwhile that nobody hears.
      const [first, second] = this.#prng.next() < 0.5 ? [near, far] : [far, near]
      first.abort(new Error('cut'))
      void turns(this.#prng.int(4)).then(() => second.abort(new Error('cut')))
    }
    this.#open.add(cut)
    const pass = (to: Comm) => (frames: Uint8Array[]) => {
      if (over) return
      if (--left < 0) cut()
      else to.send(frames)
    }
    near.onMessage(pass(far))
    far.onMessage(pass(near))
    const end = (): void => {
      this.#open.delete(cut)
      over = true
      void near.close()
      void far.close()
    }
    near.onClose(() => {
      if (!over) end()
    })
    far.onClose(() => {
      if (!over) end()
    })
  }
}

async function turns(count: number): Promise<void> {
  for (let n = 0; n < count; n++) await turn()
}
