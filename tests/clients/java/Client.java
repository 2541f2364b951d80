// The official Java client, unmodified, against a gateway: Client.java URL
// Ends with an error at the first thing that is not as the client's users expect it. It sends its bodies in chunks.

import co.elastic.clients.elasticsearch.ElasticsearchClient;
import co.elastic.clients.elasticsearch._types.ElasticsearchException;
import co.elastic.clients.elasticsearch.inference.ElasticsearchServiceType;
import co.elastic.clients.elasticsearch.inference.ElasticsearchTaskType;
import co.elastic.clients.elasticsearch.inference.ElserServiceType;
import co.elastic.clients.elasticsearch.inference.ElserTaskType;
import co.elastic.clients.elasticsearch.inference.InferenceEndpoint;
import co.elastic.clients.elasticsearch.inference.SparseEmbeddingResult;
import co.elastic.clients.elasticsearch.inference.TaskType;
import co.elastic.clients.json.JsonData;
import co.elastic.clients.transport.Version;
import java.util.List;
import java.util.Map;
import java.util.Objects;

public class Client {
  private static final List<String> TEXTS = List.of("rain in the hills", "a train to the coast");

  private interface Call {
    void run() throws Exception;
  }

  public static void main(String[] arguments) throws Exception {
    String url = arguments[0];
    for (boolean compression : new boolean[] {false, true}) {
      try (ElasticsearchClient client = ElasticsearchClient.of(c -> c.host(url).useCompression(compression))) {
        live(client, "client-java-" + (compression ? "gzip" : "plain"));
      }
    }
    System.out.println("java " + Version.VERSION + ": as expected");
    // The client's threads would keep the program for a while.
    System.exit(0);
  }

  private static void live(ElasticsearchClient client, String name) throws Exception {
    equal(client.info().tagline(), "You Know, for Search");
    equal(client.ping().value(), true);

    // What a run that failed has left.
    for (String left : List.of(name, name + "-typed")) {
      try {
        client.inference().delete(d -> d.inferenceId(left));
      } catch (ElasticsearchException absent) {
        equal(absent.status(), 404);
      }
    }

    fails(404, "resource_not_found_exception", () -> client.inference().get(g -> g.inferenceId(name)));
    fails(400, "validation_exception", () -> client.inference().put(p -> p
        .taskType(TaskType.SparseEmbedding)
        .inferenceId(name)
        .inferenceConfig(config("elser", Map.of("num_allocations", 1, "num_threads", 3)))));

    Map<String, Object> settings = Map.of("model_id", ".elser_model_2", "num_allocations", 1, "num_threads", 1);
    var created = client.inference().put(p -> p
        .taskType(TaskType.SparseEmbedding)
        .inferenceId(name)
        .timeout(t -> t.time("150s"))
        .inferenceConfig(c -> c
            .service("elasticsearch")
            .serviceSettings(JsonData.of(settings))
            .chunkingSettings(k -> k.strategy("word").maxChunkSize(120).overlap(40))));
    equal(created.inferenceId(), name);
    equal(created.taskType(), TaskType.SparseEmbedding);
    equal(created.service(), "elasticsearch");
    equal(created.chunkingSettings().overlap(), 40);
    fails(400, "resource_already_exists_exception", () -> client.inference().put(p -> p
        .taskType(TaskType.SparseEmbedding)
        .inferenceId(name)
        .inferenceConfig(config("elasticsearch", settings))));

    var one = client.inference().get(g -> g.taskType(TaskType.SparseEmbedding).inferenceId(name)).endpoints();
    equal(one.size(), 1);
    equal(one.get(0).inferenceId(), name);
    var all = client.inference().get().endpoints();
    equal(all.stream().anyMatch(endpoint -> endpoint.inferenceId().equals(name)), true);

    vectors(client.inference().inference(i -> i.inferenceId(name).input(TEXTS)).result().sparseEmbedding(), 2);
    vectors(client.inference().sparseEmbedding(s -> s.inferenceId(name).input(TEXTS.get(0))).sparseEmbedding(), 1);
    fails(400, "action_request_validation_exception", () -> client.inference()
        .inference(i -> i.taskType(TaskType.SparseEmbedding).inferenceId(name).input(List.of())));

    var updated = client.inference().update(u -> u
        .taskType(TaskType.SparseEmbedding)
        .inferenceId(name)
        .inferenceConfig(config("elasticsearch", Map.of("num_allocations", 2))));
    equal(updated.serviceSettings().toJson().asJsonObject().getInt("num_allocations"), 2);
    fails(400, "validation_exception", () -> client.inference().update(u -> u
        .taskType(TaskType.SparseEmbedding)
        .inferenceId(name)
        .inferenceConfig(config("elasticsearch", Map.of("num_threads", 2)))));

    equal(client.inference().delete(d -> d.inferenceId(name).dryRun(true)).acknowledged(), false);
    equal(client.inference().delete(d -> d.taskType(TaskType.SparseEmbedding).inferenceId(name)).acknowledged(), true);
    fails(404, "resource_not_found_exception", () -> client.inference().delete(d -> d.inferenceId(name)));
    typed(client, name + "-typed");
  }

  /** The calls that have a type for each service, which print every field that they have. */
  private static void typed(ElasticsearchClient client, String name) throws Exception {
    var elser = client.inference().putElser(p -> p
        .taskType(ElserTaskType.SparseEmbedding)
        .elserInferenceId(name)
        .service(ElserServiceType.Elser)
        .timeout(t -> t.time("150s"))
        .serviceSettings(s -> s.numAllocations(1).numThreads(1)));
    equal(elser.service(), "elser");
    equal(client.inference().delete(d -> d.inferenceId(name)).acknowledged(), true);

    var elasticsearch = client.inference().putElasticsearch(p -> p
        .taskType(ElasticsearchTaskType.SparseEmbedding)
        .elasticsearchInferenceId(name)
        .service(ElasticsearchServiceType.Elasticsearch)
        .timeout(t -> t.time("150s"))
        .serviceSettings(s -> s
            .modelId(".elser_model_2")
            .numThreads(1)
            .adaptiveAllocations(a -> a.enabled(true).minNumberOfAllocations(1).maxNumberOfAllocations(2))));
    equal(elasticsearch.service(), "elasticsearch");
    equal(client.inference().delete(d -> d.inferenceId(name)).acknowledged(), true);
  }

  private static InferenceEndpoint config(String service, Map<String, Object> settings) {
    return InferenceEndpoint.inferenceEndpointOf(c -> c.service(service).serviceSettings(JsonData.of(settings)));
  }

  private static void vectors(List<SparseEmbeddingResult> results, int count) {
    equal(results.size(), count);
    for (SparseEmbeddingResult result : results) {
      equal(!result.embedding().isEmpty() && result.embedding().values().stream().allMatch(weight -> weight > 0), true);
    }
  }

  private static void fails(int status, String type, Call call) throws Exception {
    try {
      call.run();
    } catch (ElasticsearchException refused) {
      equal(refused.status(), status);
      equal(refused.error().type(), type);
      equal(refused.error().rootCause().get(0).type(), type);
      return;
    }
    throw new AssertionError("no " + type);
  }

  private static void equal(Object given, Object expected) {
    if (!Objects.equals(given, expected)) {
      throw new AssertionError(given + " instead of " + expected);
    }
  }
}
