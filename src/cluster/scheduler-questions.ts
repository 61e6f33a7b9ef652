import { connect, type Credentials } from '../comm/index.ts'
import type { SchedulerRequests } from '../protocol/scheduler-client.ts'
import { PROTOCOL_VERSION } from '../protocol/version.ts'
import { Connection } from '../rpc/index.ts'

type Probe = Connection<unknown, unknown, object, SchedulerRequests>

/** What a cluster asks of its own scheduler, as anybody could: over one connection, made when it is needed. */
export class SchedulerQuestions {
  readonly #address: () => string
  readonly #credentials: Credentials
  readonly #timeoutMs: number
  #probe: Promise<Probe> | null = null

  constructor(address: () => string, credentials: Credentials, timeoutMs: number) {
    this.#address = address
    this.#credentials = credentials
    this.#timeoutMs = timeoutMs
  }

  async ask<Op extends keyof SchedulerRequests>(
    op: Op,
    question: SchedulerRequests[Op][0],
    timeoutMs = this.#timeoutMs,
  ): Promise<SchedulerRequests[Op][1]> {
    this.#probe ??= this.#connect()
    const probe = await this.#probe
    return (await probe.request(op, question as never, { timeoutMs })) as SchedulerRequests[Op][1]
  }

  async close(): Promise<void> {
    const probe = await this.#probe?.catch(() => null)
    await probe?.close()
  }

  async #connect(): Promise<Probe> {
    const options = {
      role: 'probe',
      credentials: this.#credentials,
      protocolVersion: PROTOCOL_VERSION,
      timeoutMs: this.#timeoutMs,
    } as const
    try {
      const probe: Probe = new Connection(await connect(this.#address(), options))
      probe.onClose(() => {
        this.#probe = null
      })
      return probe
    } catch (error) {
      this.#probe = null
      throw error
    }
  }
}
