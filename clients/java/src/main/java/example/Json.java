package example;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;

/** What the program says, as lines of JSON. */
final class Json {
  static final Gson GSON = new GsonBuilder().disableHtmlEscaping().create();

  private Json() {}

  static void say(Map<String, ?> fields) {
    System.out.println(GSON.toJson(fields));
  }

  /** Names and values in turn, kept in this order. */
  static Map<String, Object> fields(Object... namesAndValues) {
    Map<String, Object> fields = new LinkedHashMap<>();
    for (int i = 0; i < namesAndValues.length; i += 2) {
      fields.put((String) namesAndValues[i], namesAndValues[i + 1]);
    }
    return fields;
  }

  @SuppressWarnings("unchecked")
  static Map<String, ?> read(Path file) {
    try {
      return GSON.fromJson(Files.readString(file), Map.class);
    } catch (IOException error) {
      throw new java.io.UncheckedIOException(error);
    }
  }
}
