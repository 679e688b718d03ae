package example;

import com.google.gson.JsonParseException;
import com.google.protobuf.Duration;
import com.google.rpc.Code;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import java.io.BufferedReader;
import java.math.BigDecimal;
import java.util.Arrays;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import stubs.messagequeue.v1.CallRequest;
import stubs.messagequeue.v1.CallResponse;
import stubs.messagequeue.v1.ConsumeAck;
import stubs.messagequeue.v1.ConsumeOpen;
import stubs.messagequeue.v1.ConsumeRequest;
import stubs.messagequeue.v1.ConsumeResponse;
import stubs.messagequeue.v1.Delivery;
import stubs.messagequeue.v1.Message;
import stubs.messagequeue.v1.MessageQueueGrpc;
import stubs.messagequeue.v1.MessageQueueGrpc.MessageQueueBlockingStub;
import stubs.messagequeue.v1.ReplyBody;
import stubs.messagequeue.v1.ReplyContent;
import stubs.messagequeue.v1.ReplyRequest;

/** The message queue: a worker that answers calls, and a caller with a deadline. */
final class Queues {
  /** What a reply is refused with when nothing is left to do: answered already, or somebody else's. */
  private static final Set<String> SETTLED = Set.of("ALREADY_REPLIED", "LEASE_LOST", "NO_REPLY_EXPECTED");

  private Queues() {}

  /** What the worker is for: it adds numbers. What it can't do, it says to the caller. */
  private static ReplyContent handle(Message message) {
    try {
      if (!message.getType().equals("add")) {
        throw new IllegalArgumentException("there is nothing to do for " + message.getType());
      }
      BigDecimal[] numbers = numbers(message.getTextBody());
      BigDecimal sum = Arrays.stream(numbers).reduce(BigDecimal.ZERO, BigDecimal::add);
      ReplyBody body =
          ReplyBody.newBuilder().setContentType("application/json").setTextBody(sum.toPlainString()).build();
      return ReplyContent.newBuilder().setBody(body).build();
    } catch (IllegalArgumentException error) {
      com.google.rpc.Status refusal =
          com.google.rpc.Status.newBuilder()
              .setCode(Code.INVALID_ARGUMENT_VALUE)
              .setMessage(String.valueOf(error.getMessage()))
              .build();
      return ReplyContent.newBuilder().setError(refusal).build();
    }
  }

  private static BigDecimal[] numbers(String text) {
    BigDecimal[] numbers;
    try {
      numbers = Json.GSON.fromJson(text, BigDecimal[].class);
    } catch (JsonParseException error) {
      throw new IllegalArgumentException("that is no array of numbers", error);
    }
    if (numbers == null || Arrays.asList(numbers).contains(null)) {
      throw new IllegalArgumentException("that is no array of numbers");
    }
    return numbers;
  }

  /** Works off a queue until it is told to stop. */
  static void work(String queue, Stop stop) throws Exception {
    ManagedChannel channel = Channels.messageQueue();
    ConsumeOpen.Builder open = ConsumeOpen.newBuilder().setQueue(queue).setMaxInFlight(16);
    ConsumeRequest first = ConsumeRequest.newBuilder().setOpen(open).build();
    Channels.Pauses pauses = new Channels.Pauses();
    while (!stop.isSet()) {
      Answers<ConsumeRequest, ConsumeResponse> stream =
          new Answers<>(MessageQueueGrpc.newStub(channel)::consume, first, stop);
      try {
        workOff(MessageQueueGrpc.newBlockingStub(channel), stream, queue);
      } catch (StatusRuntimeException error) {
        Failure failure = Failure.of(error);
        if (!failure.isTransient()) {
          throw error;
        }
        Json.say(Json.fields("resuming", queue, "reason", failure.name()));
      }
      if (stream.came()) {
        pauses.reset();
      }
      stop.await(pauses.next());
    }
    channel.shutdown();
    Json.say(Json.fields("stopped", true));
  }

  /** Answers what comes; ends with the stream. */
  private static void workOff(
      MessageQueueBlockingStub stub, Answers<ConsumeRequest, ConsumeResponse> stream, String queue)
      throws Exception {
    ConsumeResponse answer;
    while ((answer = stream.next()) != null) {
      switch (answer.getMessageCase()) {
        case DELIVERY -> {
          if (stream.taking()) {
            settle(stub, stream, queue, answer.getDelivery());
          }
        }
        case OUTCOME -> {
          if (answer.getOutcome().hasError()) {
            String message = answer.getOutcome().getError().getMessage();
            Json.say(Json.fields("refused", answer.getOutcome().getReceipt(), "message", message));
          }
        }
        default -> {}
      }
    }
  }

  /**
   * Replies, which acks too, or acks where nobody waits for a reply. The stub has the connection that
   * the message came over.
   */
  private static void settle(
      MessageQueueBlockingStub stub,
      Answers<ConsumeRequest, ConsumeResponse> stream,
      String queue,
      Delivery delivery)
      throws InterruptedException {
    String id = delivery.getMessage().getId();
    ReplyContent reply = handle(delivery.getMessage());
    if (!delivery.getExpectsReply()) {
      ConsumeAck ack = ConsumeAck.newBuilder().addReceipts(delivery.getReceipt()).build();
      stream.say(ConsumeRequest.newBuilder().setAck(ack).build());
      return;
    }
    ReplyRequest request =
        ReplyRequest.newBuilder().setQueue(queue).setReceipt(delivery.getReceipt()).setReply(reply).build();
    try {
      Channels.retrying(
          id, () -> stub.withDeadlineAfter(Channels.DEADLINE_SECONDS, TimeUnit.SECONDS).reply(request));
      Json.say(Json.fields("answered", id, "attempt", delivery.getAttempt()));
    } catch (StatusRuntimeException error) {
      String reason = Failure.of(error).reason();
      if (reason == null || !SETTLED.contains(reason)) {
        throw error;
      }
      Json.say(Json.fields("refused", id, "reason", reason));
    }
  }

  /** Calls a worker with each line of standard input, as in {@code [2, 3]}. */
  static void call(String queue, double seconds) throws Exception {
    ManagedChannel channel = Channels.messageQueue();
    MessageQueueBlockingStub stub = MessageQueueGrpc.newBlockingStub(channel);
    BufferedReader input = Events.standardInput();
    String line;
    while ((line = input.readLine()) != null) {
      Message message = Message.newBuilder().setType("add").setTextBody(line).build();
      long millis = (long) (seconds * 1_000);
      CallRequest request =
          CallRequest.newBuilder().setQueue(queue).setMessage(message).setTimeout(Duration.newBuilder().setSeconds(millis / 1_000).setNanos((int) (millis % 1_000) * 1_000_000)).build();
      // The deadline is a little later than the service's own, whose error (CALL_TIMEOUT) tells what
      // became of the message. A call that fails otherwise may have been handled: this one may be
      // made again because adding twice does no harm.
      CallResponse answer =
          Channels.retrying(
              line, () -> stub.withDeadlineAfter(millis + 2_000, TimeUnit.MILLISECONDS).call(request));
      if (answer.getReply().hasError()) {
        Json.say(Json.fields("call", line, "failed", answer.getReply().getError().getMessage()));
      } else {
        Json.say(Json.fields("call", line, "reply", answer.getReply().getBody().getTextBody()));
      }
    }
    channel.shutdown();
  }
}
