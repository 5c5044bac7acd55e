package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"log"
	"net/http"
	"os"
	"sync"
	"time"
)

// event is a stored body that is not delivered yet.
type event struct {
	id   uint64
	body []byte
}

// delivery is an unbounded queue in memory, drained by workers.
type delivery struct {
	mu     sync.Mutex
	wake   *sync.Cond
	events []event
	head   int
}

// deliver starts the workers. They append the ids of delivered bodies to done at
// most ten milliseconds later.
func deliver(url string, workers int, done *os.File) *delivery {
	d := &delivery{}
	d.wake = sync.NewCond(&d.mu)
	client := &http.Client{
		Transport: &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute},
		Timeout:   10 * time.Second,
	}
	delivered := make(chan uint64, 65536)
	go note(delivered, done)
	for range workers {
		go func() {
			for {
				e := d.pop()
				for post(client, url, e.body) != nil {
					time.Sleep(100 * time.Millisecond)
				}
				delivered <- e.id
			}
		}()
	}
	return d
}

func (d *delivery) push(events []event) {
	d.mu.Lock()
	if d.head > 4096 && d.head*2 > len(d.events) {
		d.events = append([]event(nil), d.events[d.head:]...)
		d.head = 0
	}
	d.events = append(d.events, events...)
	d.mu.Unlock()
	if len(events) == 1 {
		d.wake.Signal()
	} else {
		d.wake.Broadcast()
	}
}

func (d *delivery) pop() event {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.head == len(d.events) {
		d.wake.Wait()
	}
	e := d.events[d.head]
	d.events[d.head] = event{}
	d.head++
	return e
}

func post(client *http.Client, url string, body []byte) error {
	resp, err := client.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.Body.Close()
}

func note(delivered <-chan uint64, file *os.File) {
	w := bufio.NewWriterSize(file, 1<<16)
	tick := time.NewTicker(10 * time.Millisecond)
	var b [8]byte
	for {
		var err error
		select {
		case id := <-delivered:
			binary.LittleEndian.PutUint64(b[:], id)
			_, err = w.Write(b[:])
		case <-tick.C:
			err = w.Flush()
		}
		if err != nil {
			log.Fatal(err)
		}
	}
}
