// Package servercert serves a TLS certificate from files that may be replaced at
// any time.
package servercert

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Files names the PEM files of a server's certificate chain and key.
type Files struct{ Cert, Key string }

// Certificate is the certificate of a server. It checks its files on new
// connections, at most once per second, and uses the last valid certificate
// while the files are invalid. Its methods may be called concurrently.
type Certificate struct {
	files Files
	log   *slog.Logger

	mu        sync.Mutex
	loaded    *tls.Certificate
	checkedAt time.Time
	warnedAt  time.Time    // of the expiry
	state     [2]fileState // of the last attempt
}

type fileState struct {
	changed time.Time
	size    int64
}

const (
	checkInterval = time.Second
	warnBefore    = 14 * 24 * time.Hour
	warnInterval  = 24 * time.Hour
	runInterval   = time.Hour
)

// Open loads a certificate.
func Open(files Files, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{files: files, log: log}
	_, err := c.current()
	return c, err
}

// Get returns the current certificate, as tls.Config.GetCertificate wants it.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current() }

// Expires returns when the current certificate expires.
func (c *Certificate) Expires() time.Time {
	loaded, err := c.current()
	if err != nil {
		return time.Time{}
	}
	return loaded.Leaf.NotAfter
}

// Run checks the certificate every hour until ctx ends, so that its expiry is
// reported even without connections.
func (c *Certificate) Run(ctx context.Context) error {
	t := time.NewTicker(runInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			c.Expires()
		}
	}
}

func (c *Certificate) current() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loaded != nil && time.Since(c.checkedAt) < checkInterval {
		return c.loaded, nil
	}
	c.checkedAt = time.Now()
	defer c.warn()
	state, err := c.stat()
	if err == nil && c.loaded != nil && state == c.state {
		return c.loaded, nil
	}
	if err == nil {
		var fresh tls.Certificate
		if fresh, err = tls.LoadX509KeyPair(c.files.Cert, c.files.Key); err == nil {
			if c.loaded != nil {
				c.log.Info("certificate replaced", "file", c.files.Cert)
			}
			c.loaded, c.warnedAt = &fresh, time.Time{}
		}
	}
	if err != nil {
		if c.loaded == nil {
			return nil, err
		}
		if state != c.state {
			c.log.Error("cannot load changed certificate; the previous one stays in use", "file", c.files.Cert, "error", err)
		}
	}
	c.state = state
	return c.loaded, nil
}

// warn logs once a day that the certificate expires within two weeks, or has
// expired.
func (c *Certificate) warn() {
	if c.loaded == nil || !c.warnedAt.IsZero() && c.checkedAt.Sub(c.warnedAt) < warnInterval {
		return
	}
	switch expires := c.loaded.Leaf.NotAfter; {
	case !c.checkedAt.Before(expires):
		c.log.Error("the certificate has expired; clients reject it", "file", c.files.Cert, "expired", expires)
	case expires.Sub(c.checkedAt) <= warnBefore:
		c.log.Warn("the certificate expires soon", "file", c.files.Cert, "expires", expires)
	default:
		return
	}
	c.warnedAt = c.checkedAt
}

func (c *Certificate) stat() (state [2]fileState, err error) {
	for i, name := range []string{c.files.Cert, c.files.Key} {
		info, err := os.Stat(name)
		if err != nil {
			return [2]fileState{}, fmt.Errorf("read certificate files: %w", err)
		}
		state[i] = fileState{info.ModTime(), info.Size()}
	}
	return state, nil
}
