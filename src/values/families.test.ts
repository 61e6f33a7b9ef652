import { describe, expect, it } from 'vitest'
import { dumps, isSerializable, loads, registerSerializer } from './families.ts'

class Matrix {
  readonly rows: number
  readonly data: Float64Array
  constructor(rows: number, data: Float64Array) {
    this.rows = rows
    this.data = data
  }
}
registerSerializer(Matrix, {
  serialize: (matrix) => ({ rows: matrix.rows, data: matrix.data }),
  deserialize: ({ rows, data }) => new Matrix(rows, data),
})

class Node {
  parent: Node | null = null
}
registerSerializer(Node, {
  name: 'test.Node',
  serialize: (node) => ({ parent: node.parent }),
  deserialize: ({ parent }) => Object.assign(new Node(), { parent }),
})

describe('a registered class', () => {
  it('travels as itself, at the top and below', () => {
    const matrix = new Matrix(2, new Float64Array(1000).fill(1))
    expect(loads(dumps(matrix))).toStrictEqual(matrix)
    const back = loads(dumps({ list: [matrix, matrix] })) as { list: Matrix[] }
    expect(back.list[0]).toStrictEqual(matrix)
    expect(back.list[1]).toBe(back.list[0])
  })

  it('may be nested in itself but not contain itself', () => {
    const child = new Node()
    child.parent = new Node()
    expect(loads(dumps(child))).toStrictEqual(child)
    child.parent = child
    expect(isSerializable(child)).toMatchObject({ ok: false, reason: expect.stringContaining('contains itself') })
  })

  it('does not cover subclasses', () => {
    class Square extends Matrix {}
    expect(isSerializable(new Square(1, new Float64Array(1)))).toMatchObject({ ok: false })
  })

  it('needs a name that no other class has', () => {
    const Other = { Matrix: class Matrix {} }.Matrix
    const codec = { serialize: () => 1, deserialize: () => new Other() }
    expect(() => registerSerializer(Other, codec)).toThrow(/another class is registered as "Matrix"/)
    registerSerializer(Other, { ...codec, name: 'other.Matrix' })
    expect(loads(dumps(new Other()))).toBeInstanceOf(Other)
    expect(() => registerSerializer(class {}, codec as never)).toThrow(/no name/)
  })

  it('that fails to serialize or revive says so', () => {
    class Broken {}
    registerSerializer(Broken, {
      serialize: () => {
        throw new Error('cannot')
      },
      deserialize: () => new Broken(),
    })
    expect(isSerializable([new Broken()])).toEqual({
      ok: false,
      path: 'value[0]',
      reason: 'threw when it was read: cannot',
    })
    class Sour {}
    registerSerializer(Sour, {
      serialize: () => 1,
      deserialize: () => {
        throw new Error('turned')
      },
    })
    const bytes = dumps(new Sour())
    expect(() => loads(bytes)).toThrow(
      expect.objectContaining({
        code: 'NOT_SERIALIZABLE',
        message: expect.stringContaining('class Sour threw: Error: turned'),
      }),
    )
  })

  it('that this process does not know is named', () => {
    class Known {}
    registerSerializer(Known, { name: 'aaaaaa', serialize: () => 1, deserialize: () => new Known() })
    const body = Buffer.from(dumps([new Known()]))
    body.write('bbbbbb', body.indexOf('aaaaaa'))
    // The checksum goes with it; what remains is a body that names a class nobody registered.
    expect(() => loads(body)).toThrow(expect.objectContaining({ code: 'BLOB_CORRUPT' }))
  })
})
