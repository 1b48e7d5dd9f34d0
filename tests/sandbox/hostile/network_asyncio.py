# attack: connect with asyncio
# damage: network
import asyncio


async def main():
    _, writer = await asyncio.open_connection("127.0.0.1", {PORT})
    writer.write(b"hello")
    await writer.drain()


asyncio.run(main())


def add(a, b):
    return None
