package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// startTime is the longest that a server may take to start.
const startTime = 3 * time.Minute

// errExited says that a server has ended before it was ready, for example
// because another program has taken its port.
var errExited = errors.New("it exited")

// startServer starts a server. If the server exits before it is ready, it is
// started again until the deadline. Other failures are final. stop ends the rest
// of a failed start, and log is the file with the output of the server.
func startServer(start func(deadline time.Time) error, stop func(), log string) error {
	deadline := time.Now().Add(startTime)
	for {
		err := start(deadline)
		if err == nil {
			return nil
		}
		stop()
		if !errors.Is(err, errExited) || time.Now().After(deadline) {
			text, _ := os.ReadFile(log)
			return fmt.Errorf("start the server: %w\n%s", err, text)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// awaitServer waits until the server answers. It fails when the server exits,
// and at the deadline.
func awaitServer(deadline time.Time, exited <-chan struct{}, ask func(ctx context.Context) error) error {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := ask(ctx)
		cancel()
		select {
		case <-exited: // another program on its port has answered
			return errExited
		default:
		}
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-exited:
			return errExited
		case <-time.After(20 * time.Millisecond):
		}
	}
}
