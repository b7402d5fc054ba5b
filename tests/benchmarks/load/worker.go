package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http/httputil"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	dialTimeout   = 10 * time.Second
	answerTimeout = 30 * time.Second
	bufferBytes   = 16 << 10 // one TLS record: a read brings no more
)

// worker is one connection and what has come over it in this round.
type worker struct {
	settings
	chance     *rand.Rand
	connection net.Conn
	reader     *bufio.Reader
	latencies  []time.Duration
	statuses   map[int]int64
	bytes      int64
	errors     int64
	firstError string
	last       int64
	seen       []Seen
}

func (w *worker) reset() {
	w.latencies, w.seen = w.latencies[:0], nil
	w.statuses = map[int]int64{}
	w.bytes, w.errors, w.firstError = 0, 0, ""
}

func (w *worker) round(due time.Time, step time.Duration, end time.Time, skip bool, left *atomic.Int64) {
	for left.Add(-1) >= 0 {
		if step > 0 {
			if due.After(end) {
				return
			}
			time.Sleep(time.Until(due))
		} else {
			due = time.Now()
			if due.After(end) {
				return
			}
		}
		status, err := w.once()
		if err != nil {
			w.errors++
			w.firstError = err.Error()
			w.close()
		} else {
			w.latencies = append(w.latencies, time.Since(due))
			w.statuses[status]++
		}
		due = due.Add(step)
		if missed := time.Since(due); skip && step > 0 && missed > 0 {
			due = due.Add(missed.Truncate(step) + step)
		}
	}
}

func (w *worker) once() (int, error) {
	if w.connection == nil {
		if err := w.open(); err != nil {
			return 0, err
		}
	}
	if !w.connect {
		return w.ask()
	}
	defer w.close()
	status := 0
	if len(w.wanted) > 0 {
		var err error
		if status, err = w.ask(); err != nil {
			return 0, err
		}
	}
	return status, w.part()
}

func (w *worker) open() error {
	dialed, err := net.DialTimeout("tcp", w.address, dialTimeout)
	if err != nil {
		return err
	}
	w.connection = dialed
	if w.tls != nil {
		secured := tls.Client(dialed, w.tls)
		dialed.SetDeadline(time.Now().Add(dialTimeout))
		if err := secured.Handshake(); err != nil {
			w.close()
			return err
		}
		w.connection = secured
	}
	w.reader = bufio.NewReaderSize(w.connection, bufferBytes)
	return nil
}

func (w *worker) close() {
	if w.connection != nil {
		w.connection.Close()
		w.connection = nil
	}
}

// part says goodbye and waits for the server's: only then is it known to have finished the handshake.
func (w *worker) part() error {
	if secured, ok := w.connection.(*tls.Conn); ok {
		if err := secured.CloseWrite(); err != nil {
			return err
		}
	}
	_, err := io.Copy(io.Discard, w.reader)
	return err
}

func (w *worker) ask() (int, error) {
	w.connection.SetDeadline(time.Now().Add(answerTimeout))
	wanted := w.choose()
	if _, err := w.connection.Write(wanted); err != nil {
		return 0, err
	}
	return w.answer(bytes.HasPrefix(wanted, []byte("HEAD ")))
}

func (w *worker) choose() []byte {
	count := uint64(len(w.wanted))
	switch {
	case count == 1:
		return w.wanted[0]
	case w.next != nil:
		return w.wanted[w.next.Add(1)%count]
	}
	return w.wanted[w.chance.Uint64N(count)]
}

// answer reads one answer to its end.
func (w *worker) answer(headOnly bool) (int, error) {
	line, err := w.line()
	if err != nil {
		return 0, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return 0, fmt.Errorf("%q is no status line", line)
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, err
	}
	length, chunked, last := int64(0), false, false
	for {
		if line, err = w.line(); err != nil {
			return 0, err
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				return 0, err
			}
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("connection")):
			last = bytes.EqualFold(value, []byte("close"))
		}
	}
	if err := w.body(length, chunked, headOnly || status == 304 || status == 204); err != nil {
		return 0, err
	}
	if last && !w.connect {
		w.close()
	}
	return status, nil
}

func (w *worker) line() ([]byte, error) {
	line, err := w.reader.ReadSlice('\n')
	return bytes.TrimRight(line, "\r\n"), err
}

func (w *worker) body(length int64, chunked, none bool) error {
	if none {
		return nil
	}
	if len(w.follow) > 0 {
		content := make([]byte, length)
		if _, err := io.ReadFull(w.reader, content); err != nil {
			return err
		}
		w.note(content)
	} else if !chunked {
		if _, err := w.reader.Discard(int(length)); err != nil {
			return err
		}
	} else {
		var err error
		if length, err = io.Copy(io.Discard, httputil.NewChunkedReader(w.reader)); err != nil {
			return err
		}
		if _, err = w.line(); err != nil { // that reader leaves the empty line after the last chunk
			return err
		}
	}
	w.bytes += length
	return nil
}

// note looks for a number that was not there before.
func (w *worker) note(content []byte) {
	_, rest, found := bytes.Cut(content, w.follow)
	if !found {
		return
	}
	rest = bytes.TrimLeft(rest, " ")
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	value, err := strconv.ParseInt(string(rest[:end]), 10, 64)
	if err == nil && value != w.last {
		w.last = value
		w.seen = append(w.seen, Seen{value, time.Now().UnixNano()})
	}
}
