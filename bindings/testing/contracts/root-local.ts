// testing/contracts/root-local.ts: the part of the root contract for local and memory roots: segments, held objects, renames, durability (cases L and 20-23).
import { StorageError } from '../../errors.ts'

import { check, checkBytes, checkEqual, checkRejects, hasCode, patterned } from './check.ts'
import { ASYNC, names, synced, written, type RootCase } from './root-cases.ts'

const CRASH_SEEDS = 24

export function localCases(it: RootCase): void {
  it('L writes a segment in place and reads it through another door', async ({ root }) => {
    if (!root.caps.segments) return
    const segment = await root.segment('log/1.wal', { preallocate: 3 * 1024 * 1024 + 5 })
    checkEqual(segment.size, 3 * 1024 * 1024 + 5, 'size')
    const { bytes } = await root.get('log/1.wal')
    check(bytes.length === segment.size && bytes.every((byte) => byte === 0), 'a new segment holds zeros')
    const order: string[] = []
    await Promise.all([
      written(segment, 0, patterned(100, 1)).then(() => order.push('write')),
      written(segment, 5000, patterned(200, 2)).then(() => order.push('write')),
    ])
    await synced(segment)
    segment.writeSync(10_000, patterned(50, 3))
    segment.datasyncSync()
    const reader = await root.segment('log/1.wal', { open: 'read' })
    const into = new Uint8Array(200)
    checkEqual(await reader.read(5000, into), 200, 'bytes read')
    checkBytes(into, patterned(200, 2), 'second write')
    checkEqual(reader.readSync(segment.size - 10, into), 10, 'bytes read at the end')
    checkEqual(reader.readSync(segment.size + 10, into), 0, 'bytes read beyond the end')
    await checkRejects(written(reader, 0, new Uint8Array(1)), (error) => error instanceof StorageError, 'a StorageError for a write through a reader')
    await checkRejects(root.segment('log/1.wal', { preallocate: 10 }), hasCode('root.exists'), 'root.exists')
    await checkRejects(root.segment('log/2.wal', { open: 'write' }), hasCode('root.not-found'), 'root.not-found')
    const again = await root.segment('log/1.wal', { open: 'write' })
    await again.truncate(5000)
    checkEqual((await root.head('log/1.wal'))?.size, 5000, 'size after truncate')
    for (const open of [segment, reader, again]) await open.close()
    await checkRejects(written(segment, 0, new Uint8Array(1)), (error) => error instanceof StorageError, 'a StorageError for a write after close')
    checkEqual(order.length, 2, 'writes')
  })

  it('L calls back after write() has returned', async ({ root }) => {
    if (!root.caps.segments) return
    const segment = await root.segment('log/1.wal', { preallocate: 100 })
    let returned = false
    await new Promise<void>((resolve, reject) => {
      segment.write(0, new Uint8Array(10), (error) => {
        if (error !== null || !returned) return reject(error ?? new Error('called back at once'))
        let synced = false
        segment.datasync((failed) => (failed !== null || !synced ? reject(failed ?? new Error('called back at once')) : resolve()))
        synced = true
      })
      returned = true
    })
    segment.closeSync()
  })

  it('L sees through a held object whether the name still is that file', async ({ root }) => {
    await root.putIfAbsent('LOCK.1', new Uint8Array([1]))
    const held = await root.hold('LOCK.1')
    check(held.isCurrent(), 'current at first')
    checkEqual(held.stat()?.size, 1, 'size')
    await root.put('LOCK.2', new Uint8Array(1))
    check(held.isCurrent(), 'current beside another')
    await root.put('LOCK.1', new Uint8Array([1]))
    check(!held.isCurrent(), 'not current once replaced by equal bytes')
    const second = await root.hold('LOCK.1')
    await root.delete('LOCK.1')
    check(!second.isCurrent(), 'not current once deleted')
    await root.putIfAbsent('LOCK.1', new Uint8Array([1]))
    check(!second.isCurrent() && !held.isCurrent(), 'not current once made anew')
    await held.close()
    second.closeSync()
    check(!held.isCurrent(), 'not current once closed')
    await checkRejects(root.hold('none'), hasCode('root.not-found'), 'root.not-found')
  })

  it('L renames over what is there, into new folders, and says what is missing', async ({ root }) => {
    await root.put('one', new Uint8Array([1]))
    await root.put('two', new Uint8Array([2]))
    await root.rename('one', 'two')
    checkBytes((await root.get('two')).bytes, new Uint8Array([1]), 'two')
    checkEqual(await root.head('one'), undefined, 'one')
    await root.rename('two', 'far/away/three')
    checkEqual(await names(root, ''), ['far/away/three'], 'names')
    await root.link('far/away/three', 'twin')
    await root.rename('far/away/three', 'twin')
    checkEqual(await names(root, ''), ['twin'], 'names of one file')
    await root.rename('twin', 'twin')
    await root.rename('twin', 'far/away/three')
    await checkRejects(root.rename('two', 'four'), hasCode('root.not-found'), 'root.not-found')
    await checkRejects(root.rename('far', 'near'), hasCode('root.not-found'), 'a folder: root.not-found')
    checkEqual(await names(root, ''), ['far/away/three'], 'names')
  })

  it('L puts and gets without waiting', async ({ root }) => {
    if (!root.caps.syncRead) return
    root.putSync('deep/er/sync', new Uint8Array([5]))
    root.putSync('deep/er/sync', new Uint8Array([6]))
    checkBytes(root.getSync('deep/er/sync').bytes, new Uint8Array([6]), 'bytes')
    checkEqual(await names(root, ''), ['deep/er/sync'], 'names')
  })

  it('L leaves nothing behind a probe', async ({ root }) => {
    await root.put('mine', new Uint8Array(1))
    const caps = await root.probe?.()
    if (caps !== undefined) check(Object.isFrozen(caps) && caps.putIfAbsent, 'frozen caps', caps)
    checkEqual(await names(root, ''), ['mine'], 'names')
    checkEqual(await root.exists('probe'), false, 'exists')
  })
}

export function durabilityCases(it: RootCase): void {
  it('20 syncs the directory after every link, rename and unlink', async ({ root, files }) => {
    if (files === undefined) return
    await root.put('s/t/one', new Uint8Array(1))
    await root.put('s/t/one', new Uint8Array(2))
    await root.putIfAbsent('s/u/two', new Uint8Array(1))
    await root.putIfAbsent('s/u/two', new Uint8Array(1))
    await root.link('s/u/two', 's/v/three')
    await root.rename('s/u/two', 's/w/four')
    await root.delete(['s/w/four', 's/t/one'])
    root.putSync('s/t/five', new Uint8Array(1))
    await (await root.segment('log/1', { preallocate: 100 })).close()
    await root.deletePrefix('s')
    const parent = (path: string): string => path.slice(0, path.lastIndexOf('/'))
    const { calls } = files
    for (const call of calls) {
      const changed =
        call.op === 'rename'
          ? [parent(call.path), parent(call.to!)]
          : call.op === 'link'
            ? [parent(call.to!)]
            : ['unlink', 'mkdir', 'rmdir'].includes(call.op)
              ? [parent(call.path)]
              : []
      for (const dir of changed) {
        const after = calls.slice(call.n).some((later) => (later.op === 'syncDir' && later.path === dir) || (later.op === 'rmdir' && later.path === dir))
        check(after, `${dir} is synced after call ${call.n}, ${call.op} ${call.path}`)
      }
    }
    checkEqual(files.openHandles, 0, 'open handles')
  })

  for (let seed = 1; seed <= CRASH_SEEDS; seed++) {
    it(`21 keeps through a power cut what a resolved call wrote, seed ${seed}`, async ({ root, crash }) => {
      if (crash === undefined) return
      const big = patterned(40_000, seed)
      await root.put('deep/down/put', big)
      await root.put('replaced', patterned(9000, 1))
      await root.put('replaced', patterned(5000, 2))
      await root.putIfAbsent('other/created', big)
      await root.putIfAbsent('other/created', new Uint8Array(1))
      await root.link('other/created', 'third/linked')
      await root.put('moving', big)
      await root.rename('moving', 'fourth/new/moved')
      await root.put('dead', big)
      await root.delete('dead')
      await root.put('tree/a', big)
      await root.deletePrefix('tree')
      root.putSync('fifth/sync', big)
      const segment = await root.segment('log/1.wal', { preallocate: 10_000 })
      await written(segment, 100, patterned(5000, 3))
      await synced(segment)
      await written(segment, 8000, patterned(1000, 4))
      await root.put('unsynced/a', big, ASYNC)
      await root.put('replaced-unsynced', patterned(9000, 5))
      await using after = await crash(seed)
      for (const name of ['deep/down/put', 'other/created', 'third/linked', 'fourth/new/moved', 'fifth/sync'])
        checkBytes((await after.get(name)).bytes, big, name)
      checkBytes((await after.get('replaced')).bytes, patterned(5000, 2), 'replaced')
      for (const name of ['moving', 'dead', 'tree/a']) checkEqual(await after.head(name), undefined, name)
      const { bytes } = await after.get('log/1.wal')
      checkEqual(bytes.length, 10_000, 'segment size')
      checkBytes(bytes.subarray(100, 5100), patterned(5000, 3), 'synced bytes of the segment')
      checkBytes((await after.get('replaced-unsynced')).bytes, patterned(9000, 5), 'last put')
      // And it works on.
      await after.put('deep/down/put', new Uint8Array(1))
      await after.deletePrefix('')
      checkEqual(await names(after, ''), [], 'names')
    })
  }

  it('21 keeps through a power cut what deletePrefix took away', async ({ root, crash }) => {
    if (crash === undefined) return
    for (const name of ['top', 'x/1', 'x/y/2', 'x/y/z/3', 'w']) await root.put(name, new Uint8Array(1))
    await root.deletePrefix('x/y')
    for (let seed = 1; seed <= 8; seed++) {
      await using after = await crash(seed)
      checkEqual(await names(after, ''), ['top', 'w', 'x/1'], `names, seed ${seed}`)
    }
    await root.deletePrefix('')
    for (let seed = 1; seed <= 8; seed++) {
      await using after = await crash(seed)
      checkEqual(await names(after, ''), [], `names, seed ${seed}`)
    }
  })

  it('22 keeps a rename into a new folder, under one name', async (f) => {
    if (f.crash === undefined) return
    await f.root.put('old', patterned(100, 1))
    await f.root.rename('old', 'new/folder/name')
    for (let seed = 1; seed <= 8; seed++) {
      await using after = await f.crash(seed)
      checkEqual(await names(after, ''), ['new/folder/name'], `names, seed ${seed}`)
    }
  })

  it('23 is loud about a missing permission', async ({ root, deny }) => {
    if (deny === undefined) return
    await root.put('p/object', new Uint8Array(1))
    await deny()
    const denied = hasCode('root.permission')
    await checkRejects(root.get('p/object'), denied, 'root.permission')
    await checkRejects(root.head('p/object'), denied, 'root.permission')
    await checkRejects(root.exists('p/object'), denied, 'root.permission')
    await checkRejects(root.put('p/object', new Uint8Array(2)), denied, 'root.permission')
    await checkRejects(root.putIfAbsent('p/new', new Uint8Array(2)), denied, 'root.permission')
    await checkRejects(names(root, 'p'), denied, 'root.permission')
    await checkRejects(root.delete('p/object'), denied, 'root.permission')
    await checkRejects(root.deletePrefix('p'), denied, 'root.permission')
    await checkRejects(root.rename('p/object', 'p/b'), denied, 'root.permission')
  })
}
