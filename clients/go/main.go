// An example client of the event store and the message queue: generated stubs and grpc-go, nothing
// else. Each subcommand is one way to use them; what it does it says as lines of JSON.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

const usage = `usage:
  append TOPIC [TYPE [ID_PREFIX]]   append each line of standard input as an event
  read TOPIC [SUBJECT]              print the events that are there
  subscribe TOPIC [POSITION_FILE]   print events as they come
  consume TOPIC GROUP [CONSUMER]    handle events as a member of a group
  work QUEUE                        answer calls: adds the numbers of a JSON array
  call QUEUE [SECONDS]              call a worker with each line of standard input
`

func main() {
	// Cancelled by SIGTERM or Ctrl-C.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		say(fields{"error": failureOf(err)})
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	argument := func(index int, otherwise string) string {
		if index < len(args) {
			return args[index]
		}
		return otherwise
	}
	name := args[1]
	switch args[0] {
	case "append":
		return appendLines(ctx, name, argument(2, "line"), argument(3, newID()))
	case "read":
		return read(ctx, name, argument(2, ""))
	case "subscribe":
		return subscribe(ctx, name, argument(2, ""))
	case "consume":
		return consume(ctx, name, argument(2, "go"), argument(3, "go"))
	case "work":
		return work(ctx, name)
	case "call":
		seconds, err := strconv.ParseFloat(argument(2, "10"), 64)
		if err != nil {
			return err
		}
		return call(ctx, name, time.Duration(seconds*float64(time.Second)))
	default:
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
		return nil
	}
}
