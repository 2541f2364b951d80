// The official JavaScript client, unmodified, against a gateway: client.mjs MODULES URL
// Ends with an error at the first thing that is not as the client's users expect it.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { join } from 'node:path'

const [modules, url] = process.argv.slice(2)
const require = createRequire(join(modules, 'package.json'))
const { Client, errors } = require('@elastic/elasticsearch')
const { version } = require('@elastic/elasticsearch/package.json')

const SPARSE = 'sparse_embedding'
const TEXTS = ['rain in the hills', 'a train to the coast']

for (const compression of [false, true]) {
  // No retries: an answer that needs a second try is not the one that is tested.
  const client = new Client({ node: url, compression, requestTimeout: 170_000, maxRetries: 0 })
  await live(client, `client-javascript-${compression ? 'gzip' : 'plain'}`)
  await client.close()
}
console.log(`javascript ${version}: as expected`)

async function live (client, name) {
  const { body: info, headers } = await client.info({}, { meta: true })
  assert.equal(info.tagline, 'You Know, for Search')
  assert.equal(headers['x-elastic-product'], 'Elasticsearch')
  assert.equal(headers['content-type'], 'application/vnd.elasticsearch+json;compatible-with=9')
  assert.equal(await client.ping(), true)

  // What a run that failed has left.
  for (const left of [name, `${name}-elser`]) {
    await client.inference.delete({ inference_id: left }, { ignore: [404] })
  }

  await fails(404, 'resource_not_found_exception', () => client.inference.get({ inference_id: name }))
  await fails(400, 'validation_exception', () => client.inference.put({
    task_type: SPARSE,
    inference_id: name,
    inference_config: { service: 'elser', service_settings: { num_allocations: 1, num_threads: 3 } }
  }))

  const config = {
    service: 'elasticsearch',
    service_settings: { num_allocations: 1, num_threads: 1, model_id: '.elser_model_2' },
    chunking_settings: { strategy: 'word', max_chunk_size: 120, overlap: 40 }
  }
  const wanted = { task_type: SPARSE, inference_id: name, inference_config: config, timeout: '150s' }
  const created = await client.inference.put(wanted)
  assert.deepEqual(created, { inference_id: name, task_type: SPARSE, task_settings: {}, ...config })
  await fails(400, 'resource_already_exists_exception', () => client.inference.put(wanted))

  const one = await client.inference.get({ task_type: SPARSE, inference_id: name })
  assert.deepEqual(one.endpoints, [created])
  const all = await client.inference.get()
  assert.ok(all.endpoints.some(endpoint => endpoint.inference_id === name))

  vectors(await client.inference.inference({ inference_id: name, input: TEXTS, input_type: 'search' }), 2)
  vectors(await client.inference.sparseEmbedding({ inference_id: name, input: TEXTS[0], timeout: '60s' }), 1)
  await fails(400, 'action_request_validation_exception', () =>
    client.inference.inference({ task_type: SPARSE, inference_id: name, input: [] }))

  const updated = await client.inference.update({
    task_type: SPARSE,
    inference_id: name,
    inference_config: { service: 'elasticsearch', service_settings: { num_allocations: 2 } }
  })
  assert.equal(updated.service_settings.num_allocations, 2)
  await fails(400, 'validation_exception', () => client.inference.update({
    task_type: SPARSE,
    inference_id: name,
    inference_config: { service: 'elasticsearch', service_settings: { num_threads: 2 } }
  }))

  assert.equal((await client.inference.delete({ inference_id: name, dry_run: true })).acknowledged, false)
  assert.equal((await client.inference.delete({ task_type: SPARSE, inference_id: name })).acknowledged, true)
  await fails(404, 'resource_not_found_exception', () => client.inference.delete({ inference_id: name }))
  await deprecated(client, `${name}-elser`)
}

// The client hands the header on.
async function deprecated (client, name) {
  const { body, warnings } = await client.inference.putElser({
    task_type: SPARSE,
    elser_inference_id: name,
    service: 'elser',
    service_settings: { num_allocations: 1, num_threads: 1 },
    timeout: '150s'
  }, { meta: true })
  assert.deepEqual(body, {
    inference_id: name,
    task_type: SPARSE,
    service: 'elser',
    service_settings: { num_allocations: 1, num_threads: 1 },
    task_settings: {}
  })
  assert.match(String(warnings), /\[elser\] service is deprecated/)
  assert.equal((await client.inference.delete({ inference_id: name })).acknowledged, true)
}

function vectors (answer, count) {
  assert.equal(answer[SPARSE].length, count)
  for (const entry of answer[SPARSE]) {
    assert.deepEqual(Object.keys(entry), ['is_truncated', 'embedding'])
    const weights = Object.values(entry.embedding)
    assert.ok(weights.length > 0 && weights.every(weight => weight > 0))
  }
}

async function fails (status, type, call) {
  await assert.rejects(call, error => {
    assert.ok(error instanceof errors.ResponseError, String(error))
    assert.equal(error.statusCode, status)
    assert.equal(error.body.error.type, type)
    assert.equal(error.body.error.root_cause[0].type, type)
    return true
  })
}
