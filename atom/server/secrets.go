package server

import (
	"context"
	"crypto/sha256"
	"os"
	"sync"
	"time"

	"valence/internal/access"
	"valence/processes"
)

// secretInterval is how often the files of secrets are checked.
const secretInterval = time.Second

// secretFiles are the files whose content is deployed as secrets. Its methods
// may be called concurrently.
type secretFiles struct {
	mu     sync.Mutex
	states map[string]secretState // by path
}

// secretState is a file as it was last read.
type secretState struct {
	changed time.Time
	size    int64
	content [sha256.Size]byte
}

// note adds the file of a secret, if it comes from one.
func (s *secretFiles) note(need processes.Need, e *processes.Environment, policy *access.Policy) {
	path := secretPath(need, e, policy)
	if path == "" {
		return
	}
	state := readState(path)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.states == nil {
		s.states = map[string]secretState{}
	}
	s.states[path] = state
}

// secretPath returns the file of a secret, or "" if it is not in a file that the
// policy allows.
func secretPath(need processes.Need, e *processes.Environment, policy *access.Policy) string {
	if need.Kind != "secret" {
		return ""
	}
	if e != nil && e.Secrets[need.Name].File != "" {
		if policy.CheckSecretFile(e.Secrets[need.Name].File) != nil {
			return ""
		}
		return e.Secrets[need.Name].File
	}
	if _, ok := os.LookupEnv(need.Name); ok || policy.Variable(need.Name) != nil {
		return ""
	}
	return os.Getenv(need.Name + "_FILE")
}

// readState reads a file. The state of one that cannot be read is zero.
func readState(path string) secretState {
	info, err := os.Stat(path)
	if err != nil {
		return secretState{}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return secretState{}
	}
	return secretState{info.ModTime(), info.Size(), sha256.Sum256(text)}
}

// changed returns the files whose content has changed since the last call, or
// since they were noted. It reads only files with another time or size.
func (s *secretFiles) changed() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var paths []string
	for path, was := range s.states {
		info, err := os.Stat(path)
		if err == nil && info.ModTime().Equal(was.changed) && info.Size() == was.size {
			continue
		}
		now := readState(path)
		if s.states[path] = now; now.content != was.content {
			paths = append(paths, path)
		}
	}
	return paths
}

// watchSecrets sends the paths of secrets whose files have changed, until ctx
// ends. done is closed when watching has ended.
func (s *Server) watchSecrets(ctx context.Context) (changes <-chan []string, done <-chan struct{}) {
	send, end := make(chan []string), make(chan struct{})
	go func() {
		defer close(end)
		tick := time.NewTicker(secretInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if paths := s.secrets.changed(); len(paths) > 0 {
				select {
				case send <- paths:
				case <-ctx.Done():
				}
			}
		}
	}()
	return send, end
}

// reloadSecrets deploys the current project again with its present secrets. If
// one is missing, the previous values stay in use.
func (s *Server) reloadSecrets(ctx context.Context, paths []string) {
	var err error
	switch {
	case s.agent != nil:
		err = s.agent.Reload(ctx, s.current.files())
	case s.current != nil:
		err = s.deploy(ctx, s.current)
	}
	if err != nil {
		s.log.Error("cannot use changed secrets; the previous ones stay in use", "files", paths, "error", err)
		return
	}
	s.log.Info("secrets replaced", "files", paths)
}

// files returns the files of a project; nil without one.
func (p *Project) files() []processes.File {
	if p == nil {
		return nil
	}
	return p.Files
}
