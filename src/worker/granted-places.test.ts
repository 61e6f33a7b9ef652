import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { VirtualClock } from '../base/clock.ts'
import { runId, taskKey } from '../base/ids.ts'
import type { Place, Store } from '../store/store.ts'
import { GrantedPlaces } from './granted-places.ts'

const key = taskKey('k')

describe('GrantedPlaces', () => {
  let directory: string
  let accepted: number[]
  let cancelled: number[]
  let clock: VirtualClock
  let places: GrantedPlaces

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'granted-'))
    accepted = []
    cancelled = []
    clock = new VirtualClock()
    let last = 0
    const store = {
      requestPlace: (nbytes: number): Promise<Place> => {
        const id = ++last
        return Promise.resolve({ id, tier: 'memory', path: join(directory, `${id}.part`), nbytes })
      },
      cancelPlace: (place: Place) => void cancelled.push(place.id),
      accept: (place: Place) => {
        accepted.push(place.id)
        return Promise.resolve({ nbytes: place.nbytes })
      },
    }
    places = new GrantedPlaces(store as unknown as Store, clock)
  })

  afterEach(() => rmSync(directory, { recursive: true, force: true }))

  const take = (grantee: { closed: boolean }, place: number): Promise<unknown> =>
    places.take(grantee, { place, key, runId: runId(1), type: 'T' })

  it('takes a place once, from the one it was granted to', async () => {
    const [near, far] = [{ closed: false }, { closed: false }]
    const place = await places.grant(near, 3)
    writeFileSync(place.path, 'abc')
    expect(readdirSync(directory)).toHaveLength(1)
    await expect(take(far, place.id)).rejects.toMatchObject({ code: 'PROTOCOL_ERROR' })
    places.cancel(far, place.id)
    await expect(take(near, place.id)).resolves.toMatchObject({ nbytes: 3 })
    await expect(take(near, place.id)).rejects.toMatchObject({ code: 'PROTOCOL_ERROR' })
    places.forget(near)
    expect({ accepted, cancelled }).toEqual({ accepted: [place.id], cancelled: [] })
  })

  it('gives a place up when it is cancelled, its grantee goes, or nothing comes', async () => {
    const [near, other] = [{ closed: false }, { closed: false }]
    const first = await places.grant(near, 1)
    const second = await places.grant(near, 1)
    const third = await places.grant(other, 1)
    places.cancel(near, first.id)
    places.forget(near)
    expect(cancelled).toEqual([first.id, second.id])
    clock.advance(10 * 60_000)
    expect(cancelled).toEqual([first.id, second.id, third.id])
    await expect(take(other, third.id)).rejects.toMatchObject({ code: 'PROTOCOL_ERROR' })
    const gone = { closed: true }
    await expect(places.grant(gone, 1)).rejects.toMatchObject({ code: 'COMM_CLOSED' })
    expect(cancelled).toHaveLength(4)
  })
})
