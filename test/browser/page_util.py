"""What tests in a browser share."""
HEARD = "() => midisim.player.level() > 0.005"


def settle(page):
    """Until what was asked to be drawn is drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
