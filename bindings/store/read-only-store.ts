// store/read-only-store.ts: the handle of an open with `readOnly`: it reads, and says so to programs that write all the same (plain JavaScript, casts).

import { ReadOnlyError } from '../errors.ts'
import { ReadHandle } from './read-store.ts'

export class ReadOnlyHandle extends ReadHandle {
  create(): Promise<never> {
    return this.refuse('create')
  }
  branch(): Promise<never> {
    return this.refuse('branch')
  }
  deleteBranch(): Promise<never> {
    return this.refuse('deleteBranch')
  }
  tag(): Promise<never> {
    return this.refuse('tag')
  }
  deleteTag(): Promise<never> {
    return this.refuse('deleteTag')
  }
  append(): Promise<never> {
    return this.refuse('append')
  }
  upsert(): Promise<never> {
    return this.refuse('upsert')
  }
  update(): Promise<never> {
    return this.refuse('update')
  }
  delete(): Promise<never> {
    return this.refuse('delete')
  }
  deleteWhere(): Promise<never> {
    return this.refuse('deleteWhere')
  }
  replace(): Promise<never> {
    return this.refuse('replace')
  }
  transact(): Promise<never> {
    return this.refuse('transact')
  }
  repair(): Promise<never> {
    return this.refuse('repair')
  }
  stage(): Promise<never> {
    return this.refuse('stage')
  }
  resume(): Promise<never> {
    return this.refuse('resume')
  }
  flush(): Promise<never> {
    return this.refuse('flush')
  }
  optimize(): Promise<never> {
    return this.refuse('optimize')
  }
  vacuum(): Promise<never> {
    return this.refuse('vacuum')
  }
  sync(): Promise<never> {
    return this.refuse('sync')
  }

  private async refuse(call: string): Promise<never> {
    this.check()
    throw this.refusal(call)
  }

  protected refusal(call: string): ReadOnlyError {
    return new ReadOnlyError(`${call}: the store was opened with readOnly`)
  }
}
