package example;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.util.Map;
import java.util.Set;

/**
 * What an error tells: its code for gRPC, its reason for programs ({@code null} for an error of the
 * connection), its message for people, and how long the service asks to wait.
 */
record Failure(Status.Code code, String reason, String message, Map<String, String> metadata, long retryAfterMillis) {
  private static final Set<Status.Code> OF_THE_CONNECTION =
      Set.of(
          Status.Code.UNAVAILABLE,
          Status.Code.UNKNOWN,
          Status.Code.INTERNAL,
          Status.Code.CANCELLED,
          Status.Code.DEADLINE_EXCEEDED);

  static Failure of(Throwable error) {
    Status status = Status.fromThrowable(error);
    com.google.rpc.Status told = StatusProto.fromThrowable(error);
    String reason = null;
    Map<String, String> metadata = Map.of();
    long retryAfter = 0;
    try {
      for (Any detail : told == null ? java.util.List.<Any>of() : told.getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          ErrorInfo info = detail.unpack(ErrorInfo.class);
          reason = info.getReason();
          metadata = info.getMetadataMap();
        } else if (detail.is(RetryInfo.class)) {
          retryAfter = detail.unpack(RetryInfo.class).getRetryDelay().getSeconds() * 1_000;
        }
      }
    } catch (InvalidProtocolBufferException broken) {
      throw new IllegalStateException("the details of an error cannot be read", broken);
    }
    String message = status.getDescription() == null ? "" : status.getDescription();
    return new Failure(status.getCode(), reason, message, metadata, retryAfter);
  }

  /** Whether another try may succeed; for a write only with the same ids as before. */
  boolean isTransient() {
    if (reason == null) {
      return OF_THE_CONNECTION.contains(code);
    }
    return code == Status.Code.UNAVAILABLE || Set.of("OUTCOME_UNKNOWN", "RATE_LIMITED").contains(reason);
  }

  /** The reason; for an error of the connection, which has none, the code. */
  String name() {
    return reason == null ? code.name() : reason;
  }

  Map<String, Object> fields() {
    return Json.fields("code", code.name(), "reason", reason, "message", message, "metadata", metadata);
  }
}
