// The simulated network: listeners, connections, and what can go wrong with them. Messages pass through the real encoding
// of the wire (rpc/envelope.ts).
//
// N1. Each direction of a connection is a lane: ordered, with a delay of its own, so messages of different peers overtake
//     one another and those of one peer never do.
// N2. A cut loses what is in flight; both ends learn of it, at different times.
// N3. A process that dies has sent what it said before that moment: its peers get it, then the end of the connection.
// N4. Between partitioned machines nothing arrives and nobody connects until the partition is over; what waits then comes.

import type { Prng } from '../base/prng.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'
import { decodeEnvelopes, encodeEnvelopes, type Envelope } from '../rpc/envelope.ts'
import { closedError, SimConnection } from './sim-connection.ts'
import type { SimProcess } from './sim-process.ts'
import type { World } from './world.ts'

export interface NetworkOptions {
  /** Least delay of a message, and what chance adds at most. */
  readonly latencyMs: number
  readonly jitterMs: number
  readonly bytesPerMs: number
  /** Messages are encoded and decoded on their way. */
  readonly encodes: boolean
}

interface Batch {
  readonly saidAtMs: number
  readonly dueMs: number
  readonly envelopes: Envelope[]
  readonly raw: Uint8Array[]
}

interface Lane {
  readonly from: SimConnection
  readonly to: SimConnection
  readonly label: string
  readonly batches: Batch[]
  /** The end comes behind what is still on its way. */
  closing: boolean
  severed: boolean
  due: boolean
  lastDueMs: number
}

export type SimRole = 'client' | 'worker' | 'nanny'
type Accept = (connection: SimConnection, role: SimRole) => void

const CONNECT_TIMEOUT_MS = 2000
/** A cut is noticed within this time. */
const NOTICE_MS = 300

function pairOf(a: string, b: string): string {
  return a < b ? `${a}|${b}` : `${b}|${a}`
}

export class SimNetwork {
  readonly #world: World
  readonly #options: NetworkOptions
  readonly #prng: Prng
  readonly #listeners = new Map<string, { readonly process: SimProcess; readonly accept: Accept }>()
  readonly #lanes = new Map<SimConnection, Lane>()
  /** The last one of each pair of machines. */
  readonly #partitions = new Map<string, { readonly fromMs: number; readonly untilMs: number }>()
  readonly #slow = new Map<string, { readonly factor: number; readonly untilMs: number }>()

  constructor(world: World, options: NetworkOptions) {
    this.#world = world
    this.#options = options
    this.#prng = world.prng('network')
  }

  listen(address: string, process: SimProcess, accept: Accept): void {
    this.#listeners.set(address, { process, accept })
    process.onKilled(() => this.#listeners.delete(address))
  }

  stopListening(address: string): void {
    this.#listeners.delete(address)
  }

  /** @throws CONNECT_FAILED when nobody listens there, or nothing comes back. */
  connect(process: SimProcess, address: string, role: SimRole, timeoutMs = CONNECT_TIMEOUT_MS): Promise<SimConnection> {
    return new Promise((resolve, reject) => {
      const failed = (why: string): void => reject(new PlimsollError('CONNECT_FAILED', `${address}: ${why}`))
      const target = this.#listeners.get(address)
      const blocked = target !== undefined && this.#blockedUntil(process.machine, target.process.machine) !== null
      if (blocked) {
        process.after(timeoutMs, () => failed('no answer'))
        return
      }
      process.after(2 * this.#delay(process.machine, process.machine), () => {
        const listener = this.#listeners.get(address)
        if (listener === undefined) return failed('nobody listens there')
        const [near, far] = this.#pair(process, listener.process, address)
        listener.accept(far, role)
        resolve(near)
      })
    })
  }

  /** Connections that are open now, one end each, in order of their making. */
  *connections(): IterableIterator<SimConnection> {
    const seen = new Set<SimConnection>()
    for (const [end, lane] of this.#lanes) {
      if (seen.has(end) || end.closed || lane.to.closed) continue
      seen.add(lane.to)
      yield end
    }
  }

  cut(end: SimConnection): void {
    const lane = this.#lanes.get(end)
    if (lane === undefined) return
    this.#world.note(`the connection of ${end.process.name} and ${end.peer.name} is cut`)
    for (const each of [lane, this.#lanes.get(lane.to)]) {
      if (each === undefined) continue
      each.severed = true
      each.batches.length = 0
      const { from } = each
      this.#world.at(this.#prng.next() * NOTICE_MS, `notice ${from.process.name}`, () => this.#over(from))
    }
  }

  partition(a: string, b: string, forMs: number): void {
    const { now } = this.#world
    const before = this.#partitions.get(pairOf(a, b))
    const fromMs = before !== undefined && before.untilMs > now ? before.fromMs : now
    this.#partitions.set(pairOf(a, b), { fromMs, untilMs: now + forMs })
  }

  slow(machine: string, factor: number, forMs: number): void {
    this.#slow.set(machine, { factor, untilMs: this.#world.now + forMs })
  }

  /** When the last partition between two machines was over; Infinity while there is one. */
  wholeSince(a: string, b: string): number {
    return this.#blockedUntil(a, b) === null ? (this.#partitions.get(pairOf(a, b))?.untilMs ?? 0) : Infinity
  }

  /** How long nothing parted them since then, until now or until the partition began that there is. */
  wholeFor(a: string, b: string, sinceMs: number): number {
    const { now } = this.#world
    const { fromMs, untilMs } = this.#partitions.get(pairOf(a, b)) ?? { fromMs: 0, untilMs: 0 }
    return untilMs > now ? fromMs - sinceMs : now - Math.max(untilMs, sinceMs)
  }

  /** Partitions and slow links are over. */
  heal(): void {
    const { now } = this.#world
    for (const [pair, { fromMs, untilMs }] of this.#partitions)
      this.#partitions.set(pair, { fromMs, untilMs: Math.min(untilMs, now) })
    this.#slow.clear()
  }

  // What the ends ask of their lanes.

  emit(from: SimConnection, envelope: Envelope, raw?: Uint8Array): void {
    const lane = this.#lanes.get(from)
    if (lane === undefined || lane.severed || lane.closing) return
    const { now } = this.#world
    const last = lane.batches.at(-1)
    const before = last?.envelopes.at(-1)
    if (last?.saidAtMs === now) {
      if (envelope[0] === 'batch' && before?.[0] === 'batch') (before[1] as unknown[]).push(...envelope[1])
      else last.envelopes.push(envelope)
      if (raw !== undefined) last.raw.push(raw)
      return
    }
    const dueMs = Math.max(
      lane.lastDueMs,
      now + this.#delay(from.process.machine, from.peer.machine) + (raw?.length ?? 0) / this.#options.bytesPerMs,
    )
    lane.lastDueMs = dueMs
    lane.batches.push({ saidAtMs: now, dueMs, envelopes: [envelope], raw: raw === undefined ? [] : [raw] })
    this.#schedule(lane)
  }

  close(from: SimConnection): void {
    const lane = this.#lanes.get(from)
    if (lane === undefined) return
    lane.closing = true
    // What the other side says from now on finds nobody.
    const back = this.#lanes.get(lane.to)
    if (back !== undefined) {
      back.severed = true
      back.batches.length = 0
    }
    this.#schedule(lane)
  }

  #pair(near: SimProcess, far: SimProcess, address: string): [SimConnection, SimConnection] {
    const a = new SimConnection(near, far, address, this)
    const b = new SimConnection(far, near, `sim://${near.name}`, this)
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      const label = `${from.process.name} > ${to.process.name}`
      this.#lanes.set(from, {
        from,
        to,
        label,
        batches: [],
        closing: false,
        severed: false,
        due: false,
        lastDueMs: this.#world.now,
      })
      from.process.onKilled(() => this.#died(from))
    }
    return [a, b]
  }

  /** N3: what it said in this very moment had not left yet. */
  #died(from: SimConnection): void {
    const lane = this.#lanes.get(from)
    if (lane === undefined || lane.closing) return
    if (lane.batches.at(-1)?.saidAtMs === this.#world.now) lane.batches.pop()
    this.close(from)
  }

  #schedule(lane: Lane): void {
    if (lane.due) return
    const dueMs = lane.batches[0]?.dueMs ?? Math.max(lane.lastDueMs, this.#world.now)
    lane.due = true
    this.#world.at(dueMs - this.#world.now, lane.label, () => {
      lane.due = false
      this.#deliver(lane)
    })
  }

  #deliver(lane: Lane): void {
    if (lane.severed) return
    const { from, to } = lane
    const blocked = this.#blockedUntil(from.process.machine, to.process.machine)
    if (blocked !== null) {
      lane.lastDueMs = Math.max(lane.lastDueMs, blocked)
      lane.due = true
      this.#world.at(blocked - this.#world.now, lane.label, () => {
        lane.due = false
        this.#deliver(lane)
      })
      return
    }
    const batch = lane.batches.shift()
    if (batch === undefined) return lane.closing ? this.#over(to) : undefined
    if (lane.batches.length > 0 || lane.closing) this.#schedule(lane)
    if (!to.process.alive || to.closed) return
    this.#world.touchPromises()
    if (this.#world.lines !== null) this.#noteBatch(lane, batch)
    const envelopes = this.#options.encodes ? decodeEnvelopes(encodeEnvelopes(batch.envelopes)) : batch.envelopes
    let rawAt = 0
    for (const envelope of envelopes) {
      const hasRaw = envelope[0] === 'chunk' || envelope[0] === 'body'
      to.deliver(envelope, hasRaw ? batch.raw[rawAt++] : undefined)
    }
  }

  #noteBatch(lane: Lane, batch: Batch): void {
    for (const envelope of batch.envelopes) {
      if (envelope[0] === 'batch')
        for (const message of envelope[1]) this.#world.note(`${lane.label}  ${brief(message)}`)
      else if (envelope[0] !== 'chunk' && envelope[0] !== 'body')
        this.#world.note(`${lane.label}  ${envelope[0]} ${envelope[1]} ${brief(envelope[2])} ${brief(envelope[3])}`)
    }
  }

  #over(end: SimConnection): void {
    const lane = this.#lanes.get(end)
    this.#lanes.delete(end)
    if (lane !== undefined) lane.severed = true
    if (end.closed || !end.process.alive) return
    this.#world.touchPromises()
    end.ended(closedError(end.peerAddress))
  }

  #blockedUntil(a: string, b: string): number | null {
    if (this.#partitions.size === 0) return null
    const untilMs = this.#partitions.get(pairOf(a, b))?.untilMs ?? 0
    return untilMs > this.#world.now ? untilMs : null
  }

  #delay(a: string, b: string): number {
    const { latencyMs, jitterMs } = this.#options
    return (latencyMs + this.#prng.next() ** 3 * jitterMs) * Math.max(this.#slowness(a), this.#slowness(b))
  }

  #slowness(machine: string): number {
    const slow = this.#slow.get(machine)
    return slow !== undefined && slow.untilMs > this.#world.now ? slow.factor : 1
  }
}

const BRIEF_MAX = 300

/** A message as one line: bytes as their number. */
export function brief(message: unknown): string {
  const text =
    JSON.stringify(message, (_, value: unknown) => (isBuffer(value) ? `<${value.data.length}>` : value)) ?? ''
  return text.length > BRIEF_MAX ? `${text.slice(0, BRIEF_MAX)}...` : text
}

/** What JSON makes of a Buffer before anybody can look at it. */
function isBuffer(value: unknown): value is { readonly data: readonly number[] } {
  return typeof value === 'object' && value !== null && 'type' in value && value.type === 'Buffer' && 'data' in value
}
