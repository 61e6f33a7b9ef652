import { expect, it } from 'vitest'
import { deferred } from '../base/deferred.ts'
import { runId, taskKey } from '../base/ids.ts'
import { openStore } from '../store/fixture.conformance.ts'
import { blobToBytes } from '../values/blob.ts'
import { encodeValue } from '../values/encode.ts'
import { BlobIntake } from './blob-intake.ts'

it('gives its place back when it is cancelled while the file is being made', async () => {
  const { store, fs } = await openStore()
  const meta = { clusterId: 'c', generation: 1, key: taskKey('a'), runId: runId(1) }
  const blob = blobToBytes(meta, encodeValue(new Uint8Array(100_000)))
  const expected = { key: meta.key, runId: meta.runId, nbytes: blob.length }
  const intake = new BlobIntake(store, expected, { fetched: true, durable: false, inlineLimit: 1000 })
  const [opening, goOn] = [deferred<void>(), deferred<void>()]
  const create = fs.create.bind(fs)
  fs.create = async (path) => {
    opening.resolve()
    await goOn.promise
    return create(path)
  }
  const writing = intake.write(blob)
  await opening.promise
  await intake.cancel()
  goOn.resolve()
  await expect(writing).rejects.toMatchObject({ code: 'TASK_CANCELLED' })
  await store.settled()
  expect((await store.recount()).differences).toEqual([])
  expect(fs.paths('/').filter((path) => path.includes('/tmp/'))).toEqual([])
  expect(store.totals).toMatchObject({ managed: 0 })
})
