package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

const (
	// A call gets so long; a retry is another call.
	deadline = 10 * time.Second
	// So long is a write tried again before its error is final.
	patience = 60 * time.Second
)

// dial makes a channel to the service that the variable names; it connects when it is first used.
func dial(variable, otherwise string) (*grpc.ClientConn, error) {
	address := os.Getenv(variable)
	if address == "" {
		address = otherwise
	}
	config, err := os.ReadFile(os.Getenv("SERVICE_CONFIG"))
	if err != nil {
		return nil, fmt.Errorf("SERVICE_CONFIG names clients/service-config.json: %w", err)
	}
	reconnect := backoff.DefaultConfig
	reconnect.BaseDelay = 100 * time.Millisecond
	// A service that comes back is found within 2 s.
	reconnect.MaxDelay = 2 * time.Second
	return grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(string(config)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnect, MinConnectTimeout: 5 * time.Second}),
		// Finds out within 40 s that a connection is dead, also while it is quiet.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		// Events may be as large as the service is configured to take; the default is 4 MiB.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(20<<20)),
	)
}

func dialEventStore() (*grpc.ClientConn, error) { return dial("EVENT_STORE", "localhost:50051") }

func dialMessageQueue() (*grpc.ClientConn, error) { return dial("MESSAGE_QUEUE", "localhost:50052") }

// failure is what an error tells: its code for gRPC, its reason for programs, its message for people.
type failure struct {
	Code       string            `json:"code"`
	Reason     string            `json:"reason"`
	Message    string            `json:"message"`
	Metadata   map[string]string `json:"metadata"`
	code       codes.Code
	retryAfter time.Duration
}

func failureOf(err error) failure {
	is := status.Convert(err)
	told := failure{Code: is.Code().String(), Message: is.Message(), code: is.Code()}
	for _, detail := range is.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			told.Reason, told.Metadata = detail.GetReason(), detail.GetMetadata()
		case *errdetails.RetryInfo:
			told.retryAfter = detail.GetRetryDelay().AsDuration()
		}
	}
	return told
}

// isTransient tells whether another try may succeed; for a write only with the same ids as before.
func (f failure) isTransient() bool {
	if f.Reason == "" {
		// Not from a service but from the connection to it.
		switch f.code {
		case codes.Unavailable, codes.Unknown, codes.Internal, codes.Canceled, codes.DeadlineExceeded:
			return true
		}
		return false
	}
	return f.code == codes.Unavailable || f.Reason == "OUTCOME_UNKNOWN" || f.Reason == "RATE_LIMITED"
}

// name is the reason; for an error of the connection, which has none, the code.
func (f failure) name() string {
	if f.Reason != "" {
		return f.Reason
	}
	return f.Code
}

// pauses are waited between tries: 100 ms, twice that, and so on up to 2 s, each with jitter.
type pauses struct{ last time.Duration }

// wait returns early when the context is done.
func (p *pauses) wait(ctx context.Context, atLeast time.Duration) {
	switch {
	case p.last == 0:
		p.last = 100 * time.Millisecond
	case p.last < 2*time.Second:
		p.last *= 2
	}
	jitter := 0.8 + 0.4*mathrand.Float64()
	select {
	case <-ctx.Done():
	case <-time.After(atLeast + time.Duration(float64(p.last)*jitter)):
	}
}

// retrying makes a call that may be made twice, until it succeeds or fails for good.
func retrying(ctx context.Context, what string, limit time.Duration, call func(context.Context) error) error {
	end := time.Now().Add(patience)
	var waits pauses
	for {
		try, cancel := context.WithTimeout(ctx, limit)
		err := call(try)
		cancel()
		if err == nil {
			return nil
		}
		told := failureOf(err)
		if !told.isTransient() || time.Now().After(end) || ctx.Err() != nil {
			return err
		}
		say(fields{"retrying": what, "reason": told.name()})
		waits.wait(ctx, told.retryAfter)
	}
}

type fields map[string]any

// say prints one line of JSON.
func say(what fields) {
	line, err := json.Marshal(what)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

// ended tells whether a stream ended without an error.
func ended(err error) bool { return errors.Is(err, io.EOF) }

func newID() string {
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		panic(err)
	}
	return fmt.Sprintf("%x", random)
}
