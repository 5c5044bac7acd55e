package agent

import (
	"slices"
	"sync"
)

// acks are the instructions to acknowledge with the next poll.
type acks struct {
	mu       sync.Mutex
	ids      []int64
	requests map[int64]string // execution requests by instruction
}

// add adds an instruction, with its execution request or "".
func (a *acks) add(id int64, request string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if slices.Contains(a.ids, id) {
		return
	}
	if a.ids = append(a.ids, id); request != "" {
		if a.requests == nil {
			a.requests = map[int64]string{}
		}
		a.requests[id] = request
	}
}

func (a *acks) all() []int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.ids)
}

// confirm removes instructions that were acknowledged and returns their execution
// requests.
func (a *acks) confirm(ids []int64) (requests []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ids = slices.DeleteFunc(a.ids, func(id int64) bool { return slices.Contains(ids, id) })
	for _, id := range ids {
		if request := a.requests[id]; request != "" {
			requests = append(requests, request)
			delete(a.requests, id)
		}
	}
	return requests
}
